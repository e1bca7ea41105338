"""Pairs whose responses differ in few tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alignkit.doctor.base import Check, Finding
from alignkit.doctor.case import Case
from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray

MOST = 0.1
"""Edit distance / length of the longer response, below which a pair is found."""


class EditDistance(Check):
    """Pairs whose token edit distance is less than a tenth of the longer response.

    Chosen and rejected share most tokens, so what pushes one away pushes the other away: both can become less likely.
    Paper: DPO-Positive, arXiv:2402.13228.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        near, names = [], ("chosen", "rejected")
        pairs = [(row, tokens) for row, tokens in case.tokenised if tokens.responses.keys() >= set(names)]
        for row, tokens in pairs:
            chosen, rejected = (tokens.responses[name][: case.data.max_length] for name in names)
            limit = math.ceil(MOST * max(len(chosen), len(rejected))) - 1
            if limit > 0 and is_within(chosen, rejected, limit):
                near.append(row.where)
        if near:
            yield self.finding(
                "nearly equal",
                "warn",
                near,
                len(pairs),
                "Chosen and rejected differ in less than a tenth of their tokens, where DPO can make both less likely; "
                "an NLL term on the chosen response (loss nll) holds it up.",
                key="losses",
            )


def is_within(first: ndarray, second: ndarray, limit: int) -> bool:
    """Whether at most `limit` insertions, deletions and replacements make one sequence the other; exact.

    Cheap bounds decide nearly all pairs.
    """
    if abs(len(first) - len(second)) > limit:
        return False
    first, second = _without_shared_ends(first, second)
    if max(len(first), len(second)) <= limit:
        return True
    return _distance_of_bags(first, second) <= limit and distance(first.tolist(), second.tolist()) <= limit


def _without_shared_ends(first: ndarray, second: ndarray) -> tuple[ndarray, ndarray]:
    for _ in range(2):  # from the start, then reversed from the end
        shorter = min(len(first), len(second))
        differs = np.flatnonzero(first[:shorter] != second[:shorter])
        shared = int(differs[0]) if len(differs) else shorter
        first, second = first[shared:][::-1], second[shared:][::-1]
    return first, second


def _distance_of_bags(first: ndarray, second: ndarray) -> int:
    """Edits that the tokens need whatever their order: a lower bound."""
    one, other = Counter(first.tolist()), Counter(second.tolist())
    return max((one - other).total(), (other - one).total())


def distance(first: Sequence[int], second: Sequence[int]) -> int:
    """The edit distance (Levenshtein's) from a sequence that is not empty, a column of its table at once.

    The differences between the rows of a column are -1, 0 or 1 and stand in the bits of two whole numbers, so a token
    of `second` costs a few operations on numbers of as many bits as `first` has tokens (Myers 1999, as Hyyro 2001 has
    it).
    """
    places = dict.fromkeys(first, 0)
    for place, token in enumerate(first):
        places[token] |= 1 << place
    every = (1 << len(first)) - 1
    rises, falls, result = every, 0, len(first)
    for token in second:
        equal = places.get(token, 0)
        level = (((equal & rises) + rises) ^ rises) | equal
        across_up, across_down = falls | (every & ~(level | rises)), rises & level
        result += (across_up >> (len(first) - 1) & 1) - (across_down >> (len(first) - 1) & 1)
        across_up, across_down = across_up << 1 | 1, across_down << 1
        rises, falls = (across_down | ~(equal | falls | across_up)) & every, across_up & (equal | falls) & every
    return result
