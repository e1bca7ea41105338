"""What can be known in the built-in world only: the true reward of a response, and whether weights find its advice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignkit.lazy import numpy
from alignkit.world.text import ADVICE, CARRIERS, FILLERS, SIGN_OFF, problem_of

if TYPE_CHECKING:
    import numpy as np

_ADVICE_SENTENCES = {f"{carrier} {advice}.": advice for carrier in CARRIERS for advice in ADVICE.values()}
_SENTENCE = re.compile(r"[^.!]+[.!]")


def reward(prompt: str, response: str) -> float:
    """True reward of any text as a response to `prompt`: 1 or 0.

    1 when the response is whole sentences of this world, one blank between them, exactly one of them gives advice, and
    that advice is right for the problem in the prompt. Everything else is 0: wrong advice, no advice, more than one
    piece of advice (the right one said twice too), broken or unfinished sentences, words after a sign-off, a prompt
    of another world. White space before and after the response does not count.
    """
    problem = problem_of(prompt)
    given = _advice(response.strip())
    return float(problem is not None and given == ADVICE[problem])


def _advice(response: str) -> str | None:
    """The one piece of advice of a well-formed response, else None."""
    sentences = [found.strip() for found in _SENTENCE.findall(response)]
    if " ".join(sentences) != response:
        return None
    if sentences[-1:] == [SIGN_OFF]:
        sentences.pop()
    advice = [_ADVICE_SENTENCES[sentence] for sentence in sentences if sentence in _ADVICE_SENTENCES]
    is_well_formed = all(sentence in _ADVICE_SENTENCES or sentence in FILLERS for sentence in sentences)
    return advice[0] if is_well_formed and len(advice) == 1 else None


def weight_auc(weights: Sequence[np.ndarray], critical: Sequence[np.ndarray]) -> float | None:
    """How well token weights find the planted critical tokens: 0.5 by chance, 1 when all of them rank on top.

    The chance that a critical token of a response weighs more than another token of the same response, equal weights
    counting one half (Mann-Whitney); averaged over responses, not over tokens, because weights are only comparable
    within a response. Responses whose tokens are all critical, or none, say nothing and are left out.

    Args:
        weights: [T] weights of the tokens of each response.
        critical: [T] bool, True on the critical tokens of each response.

    Returns:
        The mean, or None when no response has both kinds of tokens, as where truncation cut the advice off.
    """
    scores = [_auc(w, c) for w, c in zip(weights, critical, strict=True) if c.any() and not c.all()]
    return float(numpy.mean(scores)) if scores else None


def _auc(weights: np.ndarray, critical: np.ndarray) -> float:
    lead = weights[critical][:, None] - weights[~critical][None, :]
    return float(((lead > 0) + 0.5 * (lead == 0)).mean())
