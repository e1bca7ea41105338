"""Offline preference optimisation: chosen against rejected, and an anchor when a loss needs one."""

from __future__ import annotations

from alignkit.scores import PairScores, RowScores
from alignkit.views.base import Trainer


class PreferenceTrainer(Trainer):
    """Trains on preference pairs."""

    gives = "pairs"
    responses = ("chosen", "rejected")
    reads = "chosen, rejected"

    def view(self, scores: RowScores) -> PairScores:
        chosen, rejected = scores.responses
        return PairScores(chosen, rejected, scores.sampled, scores.columns, scores.gold)
