"""Pair weights from the data: an annotator's confidence, a preference strength, a count of votes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.errors import DataError
from alignkit.needs import Needs
from alignkit.pair_weighting.base import PairWeighting
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class Column(PairWeighting):
    """A number of each data row, as it stands.

    A mean far from 1 acts like another learning rate; scale the column beforehand where that matters.

    Formula: the column's value, >= 0
    """

    column: str
    """Data column with the weight of each pair; dimensionless."""

    def needs(self) -> Needs:
        return Needs(columns=frozenset({self.column}))

    def per_pair(self, scores: PairScores) -> Tensor:
        weight_B = scores.columns[self.column]
        if bool((weight_B < 0).any()):
            raise DataError(
                f"pair_weighting 'column': '{self.column}' is {float(weight_B.min()):g} in a row of the batch, but "
                "weights are >= 0; swap chosen and rejected of such rows, or leave them out"
            )
        return weight_B
