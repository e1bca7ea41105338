"""Supervised fine-tuning: one response per row; of a preference pair, the chosen one."""

from __future__ import annotations

from alignkit.scores import ResponseScores, RowScores
from alignkit.views.base import Trainer


class SFTTrainer(Trainer):
    """Trains on single responses."""

    gives = "responses"
    responses = ("chosen",)
    reads = "chosen, or one response under another name"

    def view(self, scores: RowScores) -> ResponseScores:
        return ResponseScores(scores.responses[0], scores.columns)
