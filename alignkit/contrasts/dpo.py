"""Two short DPO trainings, on the pairs as they are and with chosen and rejected exchanged.

TIS-DPO's estimate of a token's reward (Liu et al. 2024, arXiv:2410.04350): the two models part where the preference is
decided, and agree elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.contrasts.base import ContrastBench, TrainedContrast
from alignkit.data.rows import TokenRow
from alignkit.data.splitting import swapped
from alignkit.losses.dpo import DPO
from alignkit.views.preference import PreferenceTrainer

if TYPE_CHECKING:
    from alignkit.models.reference import Reference


class DPOContrast(TrainedContrast):
    """DPO on the data against DPO on the reversed data.

    Paper: arXiv:2410.04350, DPO-based estimation
    """

    fits = ("pairs",)

    beta: float = Field(0.1, gt=0)
    """DPO's beta in both trainings, per nat of log-ratio."""

    def train(self, sign: str, rows: Sequence[TokenRow], bench: ContrastBench) -> Reference:
        return bench.trained(
            sign,
            rows if sign == "positive" else [swapped(row) for row in rows],
            view=PreferenceTrainer(name="preference"),
            loss=DPO(name="dpo", beta=self.beta),
            training=self.training(),
        )
