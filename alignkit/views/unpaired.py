"""Offline training on single responses that are labelled desirable or not; of a pair, chosen and rejected apart."""

from __future__ import annotations

from alignkit.scores import RowScores, UnpairedScores
from alignkit.views.base import Trainer


class UnpairedTrainer(Trainer):
    """Trains on labelled single responses.

    Each training pair becomes two rows, so an epoch has twice as many rows as pairs and `training.batch_size` counts
    responses. Held-out pairs stay pairs: accuracy and margin mean what they mean under the preference trainer.
    """

    gives = "labelled responses"
    responses = ("completion",)
    reads = "completion and label, or chosen, rejected"

    def view(self, scores: RowScores) -> UnpairedScores:
        (response,) = scores.responses
        return UnpairedScores(response, scores.desirable_B, scores.mismatch, scores.columns)
