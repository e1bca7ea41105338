"""Pairs on which preference losses push the chosen response down."""

from __future__ import annotations

from collections.abc import Iterator

from alignkit.doctor.base import Check, Finding
from alignkit.doctor.case import Case
from alignkit.lazy import numpy as np
from alignkit.lazy import torch
from alignkit.models.readings import ches

TOP = 0.05
"""Share of the pairs that is listed."""


class Displacement(Check):
    """Pairs with the highest CHES score: on these a preference loss makes the chosen response less likely.

    CHES = <S_w, S_l> - |S_w|^2, where S sums the last layer's hidden states at the positions that predict the tokens of
    the chosen (w) and the rejected (l) response; of means instead of sums, long responses do not lead. The highest 5 %
    are listed: training without them can stop the displacement. Paper: arXiv:2410.08847.
    """

    with_model = True

    def findings(self, case: Case) -> Iterator[Finding]:
        says = case.reference
        if says is None:
            return
        for subject, states in (("CHES of sums", says.sums), ("CHES of means", says.means)):
            scores = ches(*torch.from_numpy(states).double().unbind(1)).numpy()
            order = np.argsort(-scores, kind="stable")[: max(1, int(np.ceil(TOP * len(scores))))].tolist()
            places = [says.rows[place].where for place in order]
            yield self.finding(
                subject,
                "report",
                places,
                len(scores),
                "Of these pairs the model represents both responses most alike; what pushes the rejected one away "
                f"takes the chosen one along. The highest {TOP:.0%} are listed in the JSON, to be tried without.",
                key="losses",
                values={"highest": scores[order[0]], "median": np.median(scores), "least_listed": scores[order[-1]]},
                listed=places,
            )
