"""How far a model gets that does not read."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alignkit.doctor.base import Check, Finding, warn_if
from alignkit.doctor.case import Case, Pair
from alignkit.doctor.patterns import agrees
from alignkit.doctor.statistics import NUM_FOLDS, auc, out_of_fold
from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray

MOST_AUC = 0.65
"""From which the finding warns."""

FEWEST = 100
"""Pairs below which an AUC says nothing."""

_DIGIT = re.compile("[0-9]")
_NUM_WORDS = 6
"""Groups that the first words are put into."""


class Shortcut(Check):
    """How well the chosen response is told from the rejected one by its looks alone.

    A logistic regression on 20 cheap features (length, lines, digits, marks, formats, a hash of the first word), judged
    on folds it did not see; pairs of one prompt are in one fold. An AUC above .65 warns: a policy can win without
    reading. Needs 100 pairs.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        pairs = case.pairs
        if len(pairs) < FEWEST:
            return
        features = np.concatenate([_looks(pairs), *_marks(case)], axis=1)
        prompts = [pair.row.prompt.encode("utf-8", "surrogatepass") for pair in pairs]
        folds = np.array([zlib.crc32(prompt) % NUM_FOLDS for prompt in prompts])
        logits = out_of_fold(features, folds)
        area = auc(logits, -logits)
        order = np.argsort(-logits, kind="stable").tolist()
        yield self.finding(
            "told by its looks",
            warn_if(area > MOST_AUC),
            [pairs[place].row.where for place in order[: int((logits > 0).sum())]],
            len(pairs),
            f"{features.shape[1]} features that read nothing (length, formats, first word) tell the chosen response "
            f"with an AUC of {area:.3f}; above {MOST_AUC:g} a policy can win by looks.",
            key="pair_weighting",
            values={"auc": area, "accuracy": float((logits > 0).mean())},
        )


def _marks(case: Case) -> Iterator[ndarray]:
    """[n, 1] chosen minus rejected, for words and for each way to write."""
    words = np.log1p(case.num_words)
    yield words[:, :1] - words[:, 1:]
    for has in case.formats.values():
        yield has[:, :1].astype(float) - has[:, 1:]


def _looks(pairs: Sequence[Pair]) -> ndarray:
    """[n, 12] chosen minus rejected, for the rest of what can be seen of a response without reading it."""
    looks = np.array([(_look(pair.chosen), _look(pair.rejected)) for pair in pairs])
    differences: ndarray = looks[:, 0] - looks[:, 1]
    return differences


def _look(text: str) -> list[float]:
    first = text.split(maxsplit=1)[:1]
    group = zlib.crc32(first[0].lower().encode("utf-8", "surrogatepass")) % _NUM_WORDS if first else 0
    return [
        math.log1p(len(text)),
        math.log1p(text.count("\n")),
        math.log1p(len(_DIGIT.findall(text))),
        math.log1p(text.count(",")),
        float("?" in text),
        float(agrees(text)),
        *(float(group == one) for one in range(_NUM_WORDS)),
    ]
