"""Numbers per row that training does not change: computed, kept and extended as those per token are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from alignkit.asks.values import TokenValues
from alignkit.data.rows import TokenRow
from alignkit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class RowValues(TokenValues):
    """Base of the values of which a row has one, whatever its tokens; `compute` yields one [1] tensor per row."""


class Ranked(RowValues):
    """Base of the values of which a step looks up how many training rows have less, as a share in 0 to 1.

    The training rows are those that the run's steps see, so that all processes, and a run that is resumed, agree.
    """

    def looked_up(self, packed: Mapping[bytes, Tensor], seen: Sequence[TokenRow]) -> Mapping[bytes, Tensor]:
        sorted_M = torch.cat([packed[row.key] for row in seen]).sort().values
        share_N = torch.searchsorted(sorted_M, torch.cat(list(packed.values()))) / len(sorted_M)
        return dict(zip(packed, torch.split(share_N, 1), strict=True))
