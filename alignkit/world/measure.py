"""What can be known in the built-in world only: the true reward of a response, and whether weights find its advice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from alignkit.lazy import numpy
from alignkit.world.text import ADVICE, ALL_FILLERS, BANNED, CARRIERS, SIGN_OFF, problem_of

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["right", "wrong advice", "banned word", "malformed"]
"""What a response is. Malformed: no sentences of this world, no advice, more than one piece of advice."""

_PIECES = {
    f"{carrier} {advice}{tail}.": advice + tail
    for carrier in CARRIERS
    for advice in ADVICE.values()
    for tail in ("", f" {BANNED}")
}
_SENTENCE = re.compile(r"[^.!]+[.!]")
_ADVICE = re.compile(rf"(?:^\s*|(?<=[.!] ))(?:{'|'.join(CARRIERS)}) ([^.!]+)")


def reward(prompt: str, response: str) -> float:
    """True reward of any text as a response to `prompt`: 1 or 0.

    1 when the response is whole sentences of this world, one blank between them, exactly one of them gives advice, and
    that advice is right for the problem in the prompt. Everything else is 0: wrong advice, no advice, more than one
    piece of advice (the right one said twice too), the banned word, broken or unfinished sentences, words after a
    sign-off, a prompt of another world. White space before and after the response does not count.
    """
    return float(kind_of(prompt, response) == "right")


def kind_of(prompt: str, response: str) -> Kind:
    """Whether a response is right, and if not, what is wrong with it. To a prompt of another world nothing is right."""
    problem, given = problem_of(prompt), _piece(response.strip())
    if given is None:
        return "malformed"
    advice = given.removesuffix(f" {BANNED}")
    if problem is None or advice != ADVICE[problem]:
        return "wrong advice"
    return "right" if advice == given else "banned word"


def advice_words(response: str) -> list[tuple[int, int]]:
    """(start, end) characters of each word of the first advice, right, wrong or broken: what follows a carrier such as
    "You should", up to the end of the sentence. Empty where there is no carrier, or nothing after it."""
    found = _ADVICE.search(response)
    if found is None:
        return []
    return [(found.start(1) + word.start(), found.start(1) + word.end()) for word in re.finditer(r"\S+", found[1])]


def _piece(response: str) -> str | None:
    """The one piece of advice of a well-formed response, the banned word with it, else None."""
    sentences = [found.strip() for found in _SENTENCE.findall(response)]
    if " ".join(sentences) != response:
        return None
    if sentences[-1:] == [SIGN_OFF]:
        sentences.pop()
    pieces = [_PIECES[sentence] for sentence in sentences if sentence in _PIECES]
    is_well_formed = all(sentence in _PIECES or sentence in ALL_FILLERS for sentence in sentences)
    return pieces[0] if is_well_formed and len(pieces) == 1 else None


def weight_auc(
    weights: Sequence[np.ndarray], critical: Sequence[np.ndarray], counted: Sequence[np.ndarray] | None = None
) -> float | None:
    """How well token weights find the planted critical tokens: 0.5 by chance, 1 when all of them rank on top.

    The chance that a critical token of a response weighs more than another token of the same response, equal weights
    counting one half (Mann-Whitney); averaged over responses, not over tokens, because weights are only comparable
    within a response. Responses whose tokens are all critical, or none, say nothing and are left out.

    Args:
        weights: [T] weights of the tokens of each response.
        critical: [T] bool, True on the critical tokens of each response.
        counted: [T] bool of each response, the critical tokens that are looked for; the others are on neither side.
            All of them by default.

    Returns:
        The mean, or None when no response has both kinds of tokens, as where truncation cut the advice off.
    """
    sought = critical if counted is None else [c & f for c, f in zip(critical, counted, strict=True)]
    pairs = [(w[s], w[~c]) for w, c, s in zip(weights, critical, sought, strict=True) if s.any() and not c.all()]
    return float(numpy.mean([_auc(*pair) for pair in pairs])) if pairs else None


def weight_mass(weights: Sequence[np.ndarray], critical: Sequence[np.ndarray]) -> float | None:
    """Share of the token weight that lies on the planted critical tokens, in 0 to 1.

    Averaged over the responses that have both kinds of tokens and any weight; arguments as of `weight_auc`.
    """
    both = [(w, c) for w, c in zip(weights, critical, strict=True) if c.any() and not c.all() and w.sum() > 0]
    return float(numpy.mean([w[c].sum(dtype=float) / w.sum(dtype=float) for w, c in both])) if both else None


def _auc(critical: np.ndarray, others: np.ndarray) -> float:
    lead = critical[:, None] - others[None, :]
    return float(((lead > 0) + 0.5 * (lead == 0)).mean())
