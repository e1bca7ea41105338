"""How long rows are, in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alignkit.data.rows import TokenRow
from alignkit.lazy import numpy as np

BINS = 8
"""Bars of a histogram."""


@dataclass(frozen=True)
class Lengths:
    """The lengths of one part of the rows; tokens.

    Attributes:
        mean: of all.
        p50: half are at most so long; `p90` and `p99` likewise.
        max: the longest.
        bins: (longest of the bin, how many), shortest first; equally wide from 1 to the longest.
    """

    mean: float
    p50: int
    p90: int
    p99: int
    max: int
    bins: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Lengths:
        """Those of at least one length."""
        found = np.array(lengths)
        p50, p90, p99, most = (int(value) for value in np.percentile(found, (50, 90, 99, 100), method="inverted_cdf"))
        ends = sorted({-(-most * number // BINS) for number in range(1, BINS + 1)})
        counts = np.histogram(found, [0.5, *(end + 0.5 for end in ends)])[0]
        return cls(float(found.mean()), p50, p90, p99, most, tuple(zip(ends, map(int, counts), strict=True)))


def lengths_of(rows: Sequence[TokenRow]) -> dict[str, Lengths]:
    """Part -> lengths: the prompt, each response, and the prompt with the longest response (`total`)."""
    parts = {"prompt": [len(row.prompt) for row in rows]}
    for row in rows:
        for name, ids in row.responses.items():
            parts.setdefault(name, []).append(len(ids))
    parts["total"] = [row.length for row in rows]
    return {name: Lengths.of(found) for name, found in parts.items()}
