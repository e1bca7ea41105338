"""How one training is spread over processes, and what is asked of tensors whose numbers lie in several of them."""
