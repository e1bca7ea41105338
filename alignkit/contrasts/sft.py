"""Two short supervised trainings, on the desirable and on the undesirable responses.

cDPO's positive and negative model (Lin et al. 2024, arXiv:2411.19943), which the authors train on sampled correct and
incorrect solutions; here on the chosen and rejected responses of the data.
"""

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


class SFTContrast(TrainedContrast):
    """Imitation of the desirable responses against imitation of the undesirable ones.

    Paper: arXiv:2411.19943; also the SFT-based estimation of arXiv:2410.04350
    """

    fits = ("pairs", "labelled responses")

    def train(self, sign: str, rows: Sequence[TokenRow], bench: ContrastBench) -> Reference:
        return bench.trained(
            sign,
            [one for row in rows for one in _imitated(row, sign == "positive")],
            view=SFTTrainer(name="sft"),
            loss=SFT(name="sft"),
            training=self.training(),
        )


def _imitated(row: TokenRow, desirable: bool) -> list[TokenRow]:
    """The row with the response of this kind alone, under the name that SFT reads; none when it has no such one."""
    if row.label is None:
        name = "chosen" if desirable else "rejected"
        return [replace(row, responses={"chosen": row.responses[name]})]
    return [replace(row, responses={"chosen": row.responses["completion"]})] if row.label is desirable else []
