"""How alike the reference represents the two responses of a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alignkit.asks.bench import Bench
from alignkit.asks.row_values import Ranked
from alignkit.data.rows import TokenRow
from alignkit.lazy import torch
from alignkit.models.readings import States, ches

if TYPE_CHECKING:
    from torch import Tensor


class Ches(Ranked):
    """CHES of each pair under the reference, of which a step looks up the share of training pairs that have less."""

    lasting = True

    normalised: bool = False
    """Of means of the hidden states in the place of sums."""

    @property
    def words(self) -> str:
        return f"CHES of {'means' if self.normalised else 'sums'} of the reference's hidden states"

    def compute(self, rows: Sequence[TokenRow], bench: Bench) -> Iterator[Tensor]:
        for batch, scored in bench.scored(bench.reference(), rows):
            assert scored.predictions is not None
            states = States(batch, scored.predictions.hidden_ND)
            chosen_BD, rejected_BD = (states.means_BRD if self.normalised else states.sums_BRD).unbind(1)
            yield from torch.split(ches(chosen_BD, rejected_BD).float(), 1)
