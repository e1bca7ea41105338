"""Numbers that the data brings along, for each token or for the row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alignkit.asks.bench import Bench
from alignkit.asks.values import TokenValues
from alignkit.data.rows import TokenRow
from alignkit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class TokenColumns(TokenValues):
    """One number per response token, from a data column named after the response."""

    suffix: str
    """What follows the response's name: `_weight` reads `chosen_weight` and `rejected_weight`."""

    @property
    def token_columns(self) -> frozenset[str]:
        return frozenset({self.suffix})

    @property
    def words(self) -> str:
        return f"data columns with one number per token, 'chosen{self.suffix}' and so on"

    def compute(self, rows: Sequence[TokenRow], bench: Bench) -> Iterator[Tensor]:
        for row in rows:
            yield torch.cat([torch.from_numpy(row.token_columns[self.suffix][name]) for name in row.weighted])


class RowColumn(TokenValues):
    """One number per row, from a data column, at each of its response tokens."""

    column: str
    """The column; what reads it needs it as a column too."""

    @property
    def words(self) -> str:
        return f"data column '{self.column}'"

    def compute(self, rows: Sequence[TokenRow], bench: Bench) -> Iterator[Tensor]:
        for row in rows:
            yield torch.full((sum(len(row.responses[name]) for name in row.weighted),), row.columns[self.column])
