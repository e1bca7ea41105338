"""Runs of words as numbers: what texts share, for all texts of a data set at once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
"""Scripts without blanks between words count by character."""

_FACTOR = 0x9E3779B97F4A7C15


class WordHashes(dict[str, int]):
    """Word -> 64 random bits, the same in every process."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        value = self[word] = int.from_bytes(digest, "big")
        return value


@dataclass(frozen=True)
class Texts:
    """The words of many texts, one text after the other.

    Attributes:
        words: [W] uint64 a number per word.
        lengths: [n] int64 words of each text.
    """

    words: ndarray
    lengths: ndarray

    @classmethod
    def of(cls, texts: Sequence[str], hashes: WordHashes) -> Texts:
        """The words of these texts, whatever their case and what stands between them."""
        pieces = [_WORD.findall(text.lower()) for text in texts]
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        flat = map(hashes.__getitem__, chain.from_iterable(pieces))
        return cls(np.fromiter(flat, np.uint64, int(lengths.sum())), lengths)

    def grams(self, size: int, *, short: bool) -> Grams:
        """All runs of `size` words.

        Args:
            size: words of a run.
            short: whether a text with fewer words counts as one run of them all; else it has none.
        """
        lengths, words = self.lengths, self.words
        if short:  # filled up to `size` with a word that is in no text
            padded = np.where(lengths > 0, np.maximum(lengths, size), 0)
            words = np.zeros(int(padded.sum()), np.uint64)
            words[np.arange(len(self.words)) + np.repeat(_starts(padded) - _starts(lengths), lengths)] = self.words
            lengths = padded
        numbers = np.zeros(max(0, len(words) - size + 1), np.uint64)
        for place in range(size):
            numbers = numbers * np.uint64(_FACTOR) + words[place : place + len(numbers)]
        text = np.repeat(np.arange(len(lengths)), lengths)
        whole = text[: len(numbers)] == text[size - 1 :] if len(numbers) else np.zeros(0, bool)
        counts = np.maximum(lengths - size + 1, 0)
        return Grams(mixed(numbers[whole]), counts)


@dataclass(frozen=True)
class Grams:
    """The runs of many texts, one text after the other.

    Attributes:
        numbers: [G] uint64 a number per run, equal for equal runs.
        counts: [n] int64 runs of each text.
    """

    numbers: ndarray
    counts: ndarray

    @cached_property
    def starts(self) -> ndarray:
        """[n] int64 place of each text's first run."""
        return _starts(self.counts)

    @property
    def text(self) -> ndarray:
        """[G] int64 the text that each run is of."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


def mixed(numbers: ndarray) -> ndarray:
    """A bijection of 64-bit numbers whose every output bit hangs on every input bit (the finaliser of splitmix64)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    last: ndarray = numbers ^ (numbers >> np.uint64(31))
    return last


def _starts(lengths: ndarray) -> ndarray:
    starts: ndarray = np.cumsum(lengths) - lengths
    return starts
