"""The planted critical tokens of the built-in world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alignkit.asks.bench import Bench
from alignkit.asks.values import TokenValues, per_row
from alignkit.data.rows import TokenRow
from alignkit.lazy import torch
from alignkit.models.statistics import Entropy

if TYPE_CHECKING:
    from torch import Tensor

DOUBT = 0.3
"""Least entropy of the reference at a token at which it is in doubt, nats; the later words of a phrase have less."""


class Planted(TokenValues):
    """1 on the tokens of the advice, 0 on all others."""

    @property
    def words(self) -> str:
        return "the planted tokens of builtin:world"

    def compute(self, rows: Sequence[TokenRow], bench: Bench) -> Iterator[Tensor]:
        for row in rows:
            yield _planted(row)


class Forks(Planted):
    """1 on the planted tokens at which the reference is in doubt, 0 on all others."""

    @property
    def words(self) -> str:
        return f"the planted tokens of builtin:world at which the reference has an entropy of {DOUBT} nats or more"

    def compute(self, rows: Sequence[TokenRow], bench: Bench) -> Iterator[Tensor]:
        entropy, left = Entropy(), iter(rows)
        for batch, scored in bench.scored(bench.reference(), rows, frozenset({entropy})):
            for entropy_N in per_row(scored.statistics[entropy], batch.mask_BRT):
                yield _planted(next(left)) & (entropy_N >= DOUBT).cpu()


def _planted(row: TokenRow) -> Tensor:
    """[N] of the row's weighted responses, one after the other."""
    return torch.cat([torch.from_numpy(row.critical[name]) for name in row.weighted])
