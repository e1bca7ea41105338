"""Self-BLEU and the n-grams that it is made of: how much responses repeat each other."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

_WORD = re.compile(r"\w+|[^\w\s]")

MOST = 4
"""Longest n-grams of BLEU."""

Grams = Counter[tuple[str, ...]]


@lru_cache(maxsize=8192)
def grams(text: str, n: int) -> Grams:
    """The n-grams of a text's words and punctuation marks, with how often each is there; not to be changed."""
    words = _WORD.findall(text)
    return Counter(tuple(words[place : place + n]) for place in range(len(words) - n + 1))


def bleu(text: str, references: Sequence[str]) -> float:
    """BLEU-4 of one text, in 0 to 1 (Papineni et al. 2002); 1 is added to both counts for n > 1 (Lin and Och 2004).

    Up to as many words as the text has; 0 of no words, or where no word is in a reference.
    """
    length, logs = grams(text, 1).total(), []
    for n in range(1, min(MOST, length) + 1):
        most = Grams()
        for reference in references:
            most |= grams(reference, n)
        hits, added = (grams(text, n) & most).total(), int(n > 1)
        if hits + added == 0:
            return 0.0
        logs.append(math.log((hits + added) / (grams(text, n).total() + added)))
    if not logs:
        return 0.0
    lengths = [grams(reference, 1).total() for reference in references]
    nearest = min(lengths, key=lambda other: (abs(other - length), other))
    return math.exp(sum(logs) / len(logs) + min(0.0, 1 - nearest / length))


@lru_cache(maxsize=8192)
def self_bleu(texts: tuple[str, ...]) -> tuple[float, ...]:
    """Of each of two or more texts its BLEU with the others as references."""
    return tuple(bleu(one, [*texts[:place], *texts[place + 1 :]]) for place, one in enumerate(texts))
