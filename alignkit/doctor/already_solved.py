"""Pairs that the model ranks right before training."""

from __future__ import annotations

from collections.abc import Iterator

from alignkit.doctor.base import Check, Finding
from alignkit.doctor.case import Case
from alignkit.lazy import numpy as np


class AlreadySolved(Check):
    """The share of pairs whose chosen response is the likelier one under the reference, by sum and by mean log-prob.

    The sum favours short responses and the mean does not, so the gap between the two shares is length.
    """

    with_model = True

    def findings(self, case: Case) -> Iterator[Finding]:
        says = case.reference
        if says is None:
            return
        by_sum, by_mean = (values[:, 0] > values[:, 1] for values in (says.logps, says.logps / says.lengths))
        shares = {"sum": float(by_sum.mean()), "mean": float(by_mean.mean())}
        yield self.finding(
            "reference prefers the chosen response",
            "report",
            [says.rows[place].where for place in np.flatnonzero(by_mean).tolist()],
            len(says.rows),
            f"Before training the chosen response is likelier in {shares['sum']:.1%} of the pairs by the sum of its "
            f"log-probs, in {shares['mean']:.1%} by their mean; the gap is length.",
            key="model",
            values=shares,
        )
