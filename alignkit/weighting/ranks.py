"""Ranks of tokens within their response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def average_ranks(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """[B, T] ranks from 0 (smallest) over each row's mask; equal values share the mean of their ranks. float32, or the
    values' own float64.

    What lies off the mask is ignored, and its rank has no meaning.
    """
    sorted_BT = values_BT.masked_fill(~mask_BT, torch.inf).sort(-1).values
    # Number of smaller values, and of values not larger: the mean of first and last place among equals.
    below_BT, up_to_BT = (torch.searchsorted(sorted_BT, values_BT.contiguous(), right=right) for right in (False, True))
    # Halves of whole numbers, exact in float32; not every accelerator has float64.
    return (below_BT + up_to_BT - 1).to(torch.promote_types(values_BT.dtype, torch.float32)) / 2
