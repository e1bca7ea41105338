"""What the two responses of a pair say of each other's tokens: ids alone, so no model is asked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Literal

from alignkit.asks.bench import Bench
from alignkit.asks.values import TokenValues
from alignkit.data.rows import TokenRow
from alignkit.lazy import numpy, torch

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def refused_without_pairs(words: str, trainer: str, gives: str) -> str | None:
    """Why what compares the responses of a pair, as these words say it, cannot be had of a trainer; None if it can."""
    if gives == "pairs":
        return None
    return (
        f"{words} can be had of pairs only, but trainer '{trainer}' gives {gives}; use another weighting, or a trainer "
        "that gives pairs"
    )


class PairValues(TokenValues):
    """Base of the values that compare a pair's responses."""

    @abstractmethod
    def of_pair(self, chosen: np.ndarray, rejected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One number per token of each, given their ids."""

    def refusal(self, trainer: str, gives: str) -> str | None:
        return refused_without_pairs(self.words, trainer, gives)

    def compute(self, rows: Sequence[TokenRow], bench: Bench) -> Iterator[Tensor]:
        for row in rows:
            found = dict(zip(("chosen", "rejected"), self.of_pair(**row.without_gold.responses), strict=True))
            yield torch.from_numpy(numpy.concatenate([found[name] for name in row.weighted]))


class Changed(PairValues):
    """1 on the tokens in which a response differs from the other one, 0 on those that both have.

    Comparing takes some 15 ms for a pair of 300 tokens, and time with their square.
    """

    lasting = True

    mode: Literal["blocks", "prefix"] = "blocks"
    """Both have the matching blocks, or the common beginning alone."""

    min_block: int = 3
    """Fewest tokens of a matching block."""

    @property
    def words(self) -> str:
        return "tokens in which two responses differ"

    def of_pair(self, chosen: np.ndarray, rejected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        changed = numpy.ones(len(chosen), bool), numpy.ones(len(rejected), bool)
        for first, second, length in self._kept(chosen, rejected):
            changed[0][first : first + length] = changed[1][second : second + length] = False
        return changed

    def _kept(self, chosen: np.ndarray, rejected: np.ndarray) -> Iterator[tuple[int, int, int]]:
        """Where a block begins in each response, and its tokens."""
        if self.mode == "prefix":
            both = min(len(chosen), len(rejected))
            yield 0, 0, int(numpy.cumprod(chosen[:both] == rejected[:both]).sum())
            return
        # With `autojunk` tokens that are frequent would match nothing in responses of 200 tokens and more.
        matcher = SequenceMatcher(None, rejected.tolist(), chosen.tolist(), autojunk=False)
        for second, first, length in matcher.get_matching_blocks():
            if length >= self.min_block:
                yield first, second, length


class WithinShorter(PairValues):
    """1 on the first tokens of a response, as many as the shorter of both has, 0 beyond."""

    @property
    def words(self) -> str:
        return "lengths of two responses"

    def of_pair(self, chosen: np.ndarray, rejected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shorter = min(len(chosen), len(rejected))
        return numpy.arange(len(chosen)) < shorter, numpy.arange(len(rejected)) < shorter
