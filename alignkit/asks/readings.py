"""Readings under the reference: it never changes, so one pass over the data serves the whole run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import SerializeAsAny

from alignkit.asks.bench import Bench
from alignkit.asks.values import TokenValues, per_row
from alignkit.data.rows import TokenRow
from alignkit.models.readings import Reading

if TYPE_CHECKING:
    from torch import Tensor


class ReferenceReading(TokenValues):
    """What the reference's hidden states or attention say of each token."""

    lasting = True

    reading: SerializeAsAny[Reading]
    """What they are asked."""

    @property
    def words(self) -> str:
        return f"{self.reading.words} of the reference"

    def refusal(self, trainer: str, gives: str) -> str | None:
        return self.reading.refusal(trainer, gives)

    def compute(self, rows: Sequence[TokenRow], bench: Bench) -> Iterator[Tensor]:
        for batch, scored in bench.scored(bench.reference(), rows, readings=frozenset({self.reading})):
            yield from per_row(scored.readings[self.reading], batch.mask_BRT)

    def depends_on(self, bench: Bench) -> dict[str, Any]:
        return {"reading": f"{type(self.reading).__module__}:{type(self.reading).__qualname__}"}
