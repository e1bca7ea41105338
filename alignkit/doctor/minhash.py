"""Texts that nearly repeat another one: MinHash proposes, the Jaccard index of all their 5-word runs decides.

The minima of all texts under one hash function are one reduction over all their runs, so nothing loops over texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from alignkit.doctor.grams import Grams, Texts, mixed
from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray

SHINGLE = 5
"""Words of a run."""

NUM_HASHES, NUM_BANDS = 128, 16
"""A pair of Jaccard index .8 shares one of 16 bands of 8 minima in 95 of 100 cases; one of .5, in 6."""

LEAST = 0.8
"""Jaccard index from which two texts are near duplicates."""

_AT_ONCE = 2**17
"""Runs hashed at once: few enough for the processor's cache."""


@dataclass(frozen=True)
class Sketches:
    """The 5-word runs of many texts, and their minima, which are made once."""

    grams: Grams

    @classmethod
    def of(cls, texts: Texts) -> Sketches:
        """Those of these texts; a text of fewer words is one run."""
        return cls(texts.grams(SHINGLE, short=True))

    @cached_property
    def keys(self) -> ndarray:
        """[n, bands] uint64; equal where the minima of a band are."""
        return _band_keys(self.grams)

    def runs(self, text: int) -> ndarray:
        """The different runs of a text, sorted."""
        start = int(self.grams.starts[text])
        different: ndarray = np.unique(self.grams.numbers[start : start + int(self.grams.counts[text])])
        return different


def near_twins(queries: Sketches, base: Sketches) -> dict[int, int]:
    """Texts that nearly repeat one of `base`; where both are the same, an earlier one of their own.

    Of the texts that share a band, the first of `base` is compared; so the time does not grow with the square of many
    copies.

    Returns:
        Number of a query -> the first text of `base` that it was found to repeat.
    """
    asked, known = (np.flatnonzero(sketches.grams.counts) for sketches in (queries, base))
    if not len(asked) or not len(known):
        return {}
    proposed = []
    for band in range(NUM_BANDS):
        wanted = queries.keys[asked, band]
        different, first = np.unique(base.keys[known, band], return_index=True)
        place = np.minimum(np.searchsorted(different, wanted), len(different) - 1)
        other = known[first[place]]
        is_shared = different[place] == wanted
        if queries is base:
            is_shared &= other < asked
        proposed.append(np.stack([asked[is_shared], other[is_shared]], axis=1))
    twins: dict[int, int] = {}
    for query, other in np.unique(np.concatenate(proposed), axis=0).tolist():
        if query not in twins and _are_near(queries.runs(query), base.runs(other)):
            twins[query] = other
    return twins


def _are_near(first: ndarray, second: ndarray) -> bool:
    """Whether the Jaccard index of two sets is at least `LEAST`."""
    sizes = len(first), len(second)
    if min(sizes) < LEAST * max(sizes):
        return False
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared >= LEAST * (sum(sizes) - shared)


def _band_keys(grams: Grams) -> ndarray:
    """[n, bands] uint64; texts without runs have 0."""
    keys = np.zeros((len(grams.counts), NUM_BANDS), np.uint64)
    draws = mixed(np.arange(1, 2 * NUM_HASHES + 1, dtype=np.uint64)).reshape(2, NUM_HASHES)
    masks, factors = draws[0], draws[1] | np.uint64(1)
    filled = np.flatnonzero(grams.counts)
    starts = grams.starts[filled]
    for chunk in _chunks(starts, len(grams.numbers)):
        begin, end = starts[chunk.start], starts[chunk.stop] if chunk.stop < len(starts) else len(grams.numbers)
        numbers, within = grams.numbers[begin:end], starts[chunk] - begin
        for h in range(NUM_HASHES):
            lowest = np.minimum.reduceat((numbers ^ masks[h]) * factors[h], within)
            band = h * NUM_BANDS // NUM_HASHES
            keys[filled[chunk], band] = mixed(keys[filled[chunk], band] + lowest)
    return keys


def _chunks(starts: ndarray, total: int) -> Iterator[slice]:
    """Neighbouring texts with about `_AT_ONCE` runs together."""
    edges = np.unique(np.searchsorted(starts, np.arange(0, total, _AT_ONCE)))
    for first, last in zip(edges, [*edges[1:], len(starts)], strict=True):
        if last > first:
            yield slice(int(first), int(last))
