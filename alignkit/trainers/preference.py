"""Offline preference optimisation: chosen against rejected, and an anchor when a loss needs one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from alignkit.scores import PairScores, TokenScores
from alignkit.trainers.base import Trainer

if TYPE_CHECKING:
    from torch import Tensor


class PreferenceTrainer(Trainer):
    """Trains on preference pairs."""

    gives = "pairs"
    responses = ("chosen", "rejected")

    def scores(self, responses: Sequence[TokenScores], columns: Mapping[str, Tensor]) -> PairScores:
        chosen, rejected, *rest = responses
        return PairScores(chosen, rejected, rest[0] if rest else None, columns)
