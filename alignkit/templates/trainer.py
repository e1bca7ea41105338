"""Which responses of a row are laid out, and what losses see of them."""

from __future__ import annotations

from alignkit.scores import PairScores, RowScores
from alignkit.views.base import Trainer


class Template(Trainer):
    """Trains on preference pairs.

    A view of your own is a dataclass that derives from `alignkit.scores.View`; then `gives` is a word of your own too,
    and the losses that go with it say `sees = ` that word.
    """

    gives = "pairs"
    responses = ("chosen", "rejected")
    reads = "chosen, rejected"

    def view(self, scores: RowScores) -> PairScores:
        chosen, rejected = scores.responses
        return PairScores(chosen, rejected, scores.sampled, scores.columns, scores.gold)
