"""The repeated layers of a decoder: what is computed, and held, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.models.scorer import causal_lm

if TYPE_CHECKING:
    from torch import nn

    from alignkit.models.scorer import Model


def decoder_layers(model: Model) -> list[nn.Module]:
    """The layers that transformers says must not be split, outermost ones only."""
    language_model = causal_lm(model)
    kinds = set(language_model._no_split_modules or ())
    found: dict[str, nn.Module] = {}
    for name, module in language_model.named_modules():  # the outer ones come first
        if type(module).__name__ in kinds and not name.startswith(tuple(f"{outer}." for outer in found)):
            found[name] = module
    return list(found.values())
