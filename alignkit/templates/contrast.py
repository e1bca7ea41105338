"""Two models, of which one likes what is desirable more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from alignkit.contrasts.base import ContrastBench, TrainedContrast
from alignkit.data.rows import TokenRow
from alignkit.losses.sft import SFT
from alignkit.views.sft import SFTTrainer

if TYPE_CHECKING:
    from alignkit.models.reference import Reference


class Template(TrainedContrast):
    """Short supervised trainings, of one model on the chosen and of the other on the rejected responses."""

    fits = ("pairs",)

    def train(self, sign: str, rows: Sequence[TokenRow], bench: ContrastBench) -> Reference:
        name = "chosen" if sign == "positive" else "rejected"
        return bench.trained(
            sign,
            [replace(row, responses={"chosen": row.responses[name]}) for row in rows],
            view=SFTTrainer(name="sft"),
            loss=SFT(name="sft"),
            training=self.training(),
        )
