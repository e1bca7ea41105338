"""The planted critical tokens of the built-in world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alignkit.asks.bench import Bench
from alignkit.asks.values import TokenValues
from alignkit.data.rows import TokenRow
from alignkit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class Planted(TokenValues):
    """1 on the tokens of the advice, 0 on all others."""

    @property
    def words(self) -> str:
        return "the planted tokens of builtin:world"

    def compute(self, rows: Sequence[TokenRow], bench: Bench) -> Iterator[Tensor]:
        for row in rows:
            yield torch.cat([torch.from_numpy(row.critical[name]) for name in row.weighted])
