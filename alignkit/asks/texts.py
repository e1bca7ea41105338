"""Numbers per token that are read from the text of the responses: marked words, a lexicon, the place of an answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alignkit.asks.bench import Bench
from alignkit.asks.values import TokenValues
from alignkit.data.rows import TokenRow
from alignkit.lazy import torch

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class TextValues(TokenValues):
    """Base of the values that a response's text alone decides; they are read when the data is tokenised.

    `alignkit.data.characters.overlaps` finds the tokens of stretches of the text.
    """

    @abstractmethod
    def of_text(self, text: str, offsets_N2: np.ndarray) -> np.ndarray:
        """[N] finite numbers, one per response token.

        Args:
            text: the response, as the data has it.
            offsets_N2: [N, 2] first and next character of each token in it; equal for a token that holds none of it.
        """

    @property
    def key(self) -> str:
        """Tells these numbers of a row from others."""
        return f"{type(self).__module__}.{type(self).__qualname__} {self.model_dump_json()}"

    @property
    def words(self) -> str:
        return "the responses' texts"

    def compute(self, rows: Sequence[TokenRow], bench: Bench) -> Iterator[Tensor]:
        for row in rows:
            yield torch.cat([torch.from_numpy(row.token_columns[self.key][name]) for name in row.weighted])
