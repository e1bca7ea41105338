"""Frozen weights in 4 bits under an adapter (QLoRA, arXiv:2305.14314), by the linear layers of bitsandbytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alignkit.errors import ModelError
from alignkit.lazy import bitsandbytes, torch
from alignkit.loop.eight_bit import NEEDED, is_installed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn
    from transformers import PreTrainedModel


def require_quantizable(kind: str, *, has_adapter: bool) -> None:
    """Stops before anything is loaded.

    Raises:
        ModelError: the package is missing, or there is nothing that could be trained.
    """
    if not is_installed():
        raise ModelError(f"model.quantize: '{kind}' {NEEDED}")
    if not has_adapter:
        raise ModelError(
            f"model.quantize: weights in '{kind}' are frozen, and nothing would be trained; give an adapter, such as "
            "adapter: {rank: 16}"
        )


def quantize(model: PreTrainedModel, kind: str) -> None:
    """Gives a model linear layers whose weights are packed when they reach their device; computes as they were held.

    Embeddings, head and norms stay as they are.

    Raises:
        ModelError: it has no linear layers.
    """
    head, found = model.get_output_embeddings(), 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is torch.nn.Linear and child is not head:
                setattr(module, name, _quantized(child, kind))
                found += 1
    if not found:
        raise ModelError(f"model.quantize: {type(model).__name__} has no linear layers that can be packed")
    vars(model)["is_loaded_in_4bit"] = True  # by which peft takes the adapter that fits


def _quantized(linear: nn.Linear, kind: str) -> Any:  # noqa: ANN401 -- a class of the package
    options = {"compress_statistics": False, "quant_type": kind}
    layer = bitsandbytes.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=linear.weight.dtype,
        device="meta",
        **options,
    )
    layer.weight = bitsandbytes.nn.Params4bit(linear.weight.data, requires_grad=False, module=layer, **options)
    layer.bias = linear.bias
    # On processors with AVX512-BF16 it would repack the weights at a forward pass without gradient, into a form that
    # gives none to the next pass that needs one.
    layer.support_avx512bf16_for_cpu = False
    return layer


def pack_outline(model: nn.Module) -> None:
    """Packs weights that hold no numbers, which the layers cannot do by themselves; inside the mode they live in."""
    for layer in model.modules():
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            packed, state = bitsandbytes.functional.quantize_4bit(layer.weight.data, quant_type="nf4")
            layer.weight = torch.nn.Parameter(packed, requires_grad=False)
            layer.weight.quant_state = state


def count_numbers(parameters: Iterable[Tensor]) -> int:
    """How many numbers parameters hold: packed ones are two in a byte."""
    return sum(parameter.numel() * (1 + (parameter.dtype == torch.uint8)) for parameter in parameters)
