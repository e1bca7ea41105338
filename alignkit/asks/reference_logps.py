"""Log-probs of the data's responses under the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alignkit.asks.bench import Bench
from alignkit.asks.values import TokenValues, per_row
from alignkit.data.rows import TokenRow

if TYPE_CHECKING:
    from torch import Tensor


class ReferenceLogps(TokenValues):
    """log ref(y_t | x, y_<t) of every token of the weighted responses; nats."""

    lasting = True

    @property
    def words(self) -> str:
        return "log-probs of the reference"

    def compute(self, rows: Sequence[TokenRow], bench: Bench) -> Iterator[Tensor]:
        for batch, scored in bench.scored(bench.reference(), rows):
            yield from per_row(scored.logp_BRT, batch.mask_BRT)
