"""Pair weights from the data: an annotator's confidence, a preference strength, a count of votes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.asks.needs import Needs
from alignkit.pair_weighting.base import PairWeighting
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class Column(PairWeighting):
    """A number of each data row, as it stands.

    A mean far from 1 acts like another learning rate; scale the column beforehand where that matters. A row with a
    negative number is a bad row: swap its chosen and rejected, or leave it out.

    Formula: the column's value, >= 0
    """

    column: str
    """Data column with the weight of each pair; dimensionless."""

    def needs(self) -> Needs:
        return Needs(columns=frozenset({self.column}), nonnegative=frozenset({self.column}))

    def per_pair(self, scores: PairScores) -> Tensor:
        return scores.columns[self.column]
