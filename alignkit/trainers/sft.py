"""Supervised fine-tuning: one response per row; of a preference pair, the chosen one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from alignkit.scores import ResponseScores, TokenScores
from alignkit.trainers.base import Trainer

if TYPE_CHECKING:
    from torch import Tensor


class SFTTrainer(Trainer):
    """Trains on single responses; of a preference pair, on the chosen one."""

    gives = "responses"
    responses = ("chosen",)

    def scores(self, responses: Sequence[TokenScores], columns: Mapping[str, Tensor]) -> ResponseScores:
        (response,) = responses
        return ResponseScores(response, columns)
