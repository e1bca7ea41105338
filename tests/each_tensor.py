"""Token scores with a change made to every tensor in them, those of statistics included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch

from alignkit.scores import TokenScores


def each_tensor(scores: TokenScores, change: Callable[[str, torch.Tensor], torch.Tensor]) -> TokenScores:
    """The scores with `change(name, tensor)` in the place of each tensor."""
    return TokenScores(
        **{
            name: {key: change(name, of_key) for key, of_key in value.items()}
            if isinstance(value, Mapping)
            else value
            if value is None
            else change(name, value)
            for name, value in vars(scores).items()
        }
    )


def tensors(scores: TokenScores) -> Iterator[torch.Tensor]:
    """All of them."""
    for value in vars(scores).values():
        yield from value.values() if isinstance(value, Mapping) else [] if value is None else [value]
