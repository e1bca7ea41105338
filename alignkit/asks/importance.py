"""Importances under the reference: it never changes, so one pass over the data serves the whole run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alignkit.asks.bench import Bench
from alignkit.asks.values import TokenValues, per_row
from alignkit.data.rows import TokenRow
from alignkit.lazy import torch
from alignkit.models.attribution import Attribution

if TYPE_CHECKING:
    from torch import Tensor


class ReferenceImportance(TokenValues):
    """Size of the gradient of the reference's target by each token's embedding, not normalised."""

    lasting = True

    attribution: Attribution
    """Which target, position and norm."""

    full_sequence: bool = False
    """The prompt's importances too, before each response's."""

    @property
    def words(self) -> str:
        return "importances under the reference"

    def batch_size(self, bench: Bench) -> int:
        return bench.micro_batch_size  # this one has a graph

    def compute(self, rows: Sequence[TokenRow], bench: Bench) -> Iterator[Tensor]:
        for batch, size_BRS in bench.importances(self.attribution, rows, full_sequence=self.full_sequence):
            mask_BRS = batch.mask_BRT
            if self.full_sequence:
                prompt_BRP = batch.prompt_mask_BP[:, None].expand(-1, mask_BRS.shape[1], -1)
                mask_BRS = torch.cat([prompt_BRP, mask_BRS], dim=-1)
            yield from per_row(size_BRS, mask_BRS)
