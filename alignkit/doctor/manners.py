"""Refusals, and agreement with what the user thinks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alignkit.doctor.base import Check, Finding
from alignkit.doctor.case import Case, Pair
from alignkit.doctor.patterns import agrees, states_view
from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray


class Manners(Check):
    """How often chosen and rejected responses refuse, and agree with a view that the user states.

    Sycophancy is looked for where the user says what the user thinks; a response agrees when it begins so. Paper:
    arXiv:2310.13548.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        yield from self._rates("refusal", case.pairs, case.formats["refusal"])
        views = [pair for pair in case.pairs if states_view(pair.row.question)]
        agreed = np.array([(agrees(pair.chosen), agrees(pair.rejected)) for pair in views], dtype=bool)
        yield from self._rates("agrees with the user", views, agreed.reshape(-1, 2))

    def _rates(self, subject: str, pairs: Sequence[Pair], does: ndarray) -> Iterator[Finding]:
        """What is said of [n, 2] bool, of the chosen and the rejected response of each pair."""
        if not does.any():
            return
        rates = {"chosen": float(does[:, 0].mean()), "rejected": float(does[:, 1].mean())}
        yield self.finding(
            subject,
            "report",
            [pair.row.where for pair, one in zip(pairs, does[:, 0].tolist(), strict=True) if one],
            len(pairs),
            f"Of the chosen responses {rates['chosen']:.1%} do, of the rejected ones {rates['rejected']:.1%}; what is "
            "chosen more often will be said more often.",
            key="data.train",
            values=rates,
        )
