"""Prompts that nearly repeat others."""

from __future__ import annotations

from collections.abc import Iterator

from alignkit.doctor.base import Check, Finding, warn_if
from alignkit.doctor.case import Case
from alignkit.doctor.duplicates import MOST
from alignkit.doctor.minhash import near_twins


class NearDuplicates(Check):
    """Training prompts that nearly repeat another one: Jaccard index of their 5-word runs at least .8.

    MinHash with 128 functions in 16 bands proposes pairs, and each is verified. Prompts that are equal are no near
    duplicates. Paper: Lee et al. 2022, arXiv:2107.06499.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        twins = near_twins(case.sketches, case.sketches)
        repeated = {case.prompts[twin] for twin in twins}
        places = [row.where for row in case.train if row.prompt in repeated]
        if places:
            yield self.finding(
                "prompts",
                warn_if(len(places) > MOST * len(case.train)),
                places,
                len(case.train),
                "Prompts nearly repeat another one, so the data is less varied than its rows; keep one of each kind.",
                key="data.train",
                values={"prompts": len(twins), "different_prompts": len(case.prompts)},
            )
