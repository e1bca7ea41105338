"""All tensors of token scores, those of statistics included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from alignkit.scores import TokenScores


def tensors(scores: TokenScores) -> Iterator[torch.Tensor]:
    """All of them."""
    for value in vars(scores).values():
        yield from value.values() if isinstance(value, Mapping) else [] if value is None else [value]
