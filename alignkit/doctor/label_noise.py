"""How many labels may be wrong."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from alignkit.doctor.base import Check, Finding
from alignkit.doctor.case import Case
from alignkit.doctor.statistics import NUM_FOLDS, out_of_fold
from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray

    from alignkit.doctor.reference import ReferenceSays

FEWEST = 100
"""Pairs below which nothing is said."""

WIDTH = 64
"""Numbers that the hidden states are projected to, so that the fit is small beside the pairs."""

TOP = 0.05
"""Share of the pairs that is listed."""


class LabelNoise(Check):
    """How many labels may be flipped, by a reward head on the reference's mean hidden states that never saw the pair.

    A head that is right about a share a of the labels leaves a flip rate between 0 and 1 - a; were it right about a
    share p of the true preferences, the rate would be (p - a) / (2 p - 1). The pairs that it contradicts most surely
    are listed. Needs 100 pairs. Papers: arXiv:2404.09824, arXiv:2410.01957.
    """

    with_model = True

    def findings(self, case: Case) -> Iterator[Finding]:
        says = case.reference
        if says is None or len(says.rows) < FEWEST:
            return
        logits = out_of_fold(_features(says), _folds(says))
        accuracy = float((logits > 0).mean())
        wrong = np.argsort(logits, kind="stable")[: int((logits < 0).sum())].tolist()
        places = [says.rows[place].where for place in wrong]
        values = {"accuracy": accuracy, "flip_rate_most": 1 - accuracy}
        for true in (0.8, 0.9):
            if true > accuracy > 0.5:
                values[f"flip_rate_at_{true:g}"] = (true - accuracy) / (2 * true - 1)
        yield self.finding(
            "contradicted by a reward head",
            "report",
            places,
            len(says.rows),
            f"A reward head is right about {accuracy:.1%} of the labels that it never saw, so between 0 and "
            f"{1 - accuracy:.1%} of them are flipped; the most surely contradicted are listed in the JSON, to be read.",
            key="losses.N.label_smoothing",
            values=values,
            listed=places[: int(np.ceil(TOP * len(says.rows)))],
        )


def _features(says: ReferenceSays) -> ndarray:
    """[n, WIDTH] difference of the mean hidden states, projected by fixed random signs."""
    difference = says.means[:, 0] - says.means[:, 1]
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (difference.shape[1], WIDTH))
    projected: ndarray = difference @ signs
    return projected


def _folds(says: ReferenceSays) -> ndarray:
    """[n] pairs of one prompt are in one fold."""
    return np.array([zlib.crc32(row.prompt.astype("<i4").tobytes()) % NUM_FOLDS for row in says.rows])
