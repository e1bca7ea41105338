"""What a run made, used: an adapter merged into its base, responses sampled beside the start's, a model on the Hub."""
