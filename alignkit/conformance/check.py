"""What a check is, and how numbers are compared in all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from alignkit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Check = Callable[[Any], Iterator[str]]
"""Takes a component and gives a sentence for each problem; its docstring is the promise, after "it"."""


def difference(what: str, got: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> Iterator[str]:
    """A sentence where two tensors differ: by how much, and where most."""
    if got.shape != wanted.shape:
        yield f"{what}: shape {list(got.shape)}, not {list(wanted.shape)}"
        return
    got, wanted = got.detach().double(), wanted.detach().double()
    far = (got - wanted).abs() / (1 + wanted.abs())
    far = torch.where(got.isnan() & wanted.isnan(), 0.0, far.nan_to_num(torch.inf, torch.inf, torch.inf))
    if far.numel() and far.max() > tolerance:
        place = [int(index) for index in torch.unravel_index(far.argmax(), far.shape)]
        values = f"{got[tuple(place)]:.4g}, not {wanted[tuple(place)]:.4g}"
        yield f"{what}: {values} at {' '.join(map(str, place)) or 'the only value'}"
