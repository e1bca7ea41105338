"""Token weights that the data brings along: an annotator's marks, another tool's scores, weights kept from a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.columns import TokenColumns
from alignkit.asks.needs import Needs
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Column(TokenWeighting):
    """Numbers of each data row, one per response token.

    With suffix `_weight` they stand in the columns `chosen_weight` and `rejected_weight`, of unpaired data in
    `completion_weight`: lists with a number >= 0 for each response token, or for all but EOS, which then gets 0.

    Formula: the columns' values, then `rescale`
    """

    knows_prompt = False

    suffix: str = Field("_weight", min_length=1)
    """What follows the response's name in the names of the columns."""

    @property
    def _values(self) -> TokenColumns:
        return TokenColumns(suffix=self.suffix)

    def needs(self) -> Needs:
        return Needs(values=frozenset({self._values}))

    def raw(self, span: Span) -> Tensor:
        return span.values[self._values]
