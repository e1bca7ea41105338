"""Test prompts that are trained on, give or take a few words."""

from __future__ import annotations

from collections.abc import Iterator

from alignkit.doctor.base import Check, Finding
from alignkit.doctor.case import Case
from alignkit.doctor.grams import Texts
from alignkit.doctor.minhash import Sketches, near_twins


class Leakage(Check):
    """Test prompts that are near duplicates of a training prompt: what is measured on them was trained on.

    The test sets are the recipe's held-out rows and each file given by `--against`; near is as in `near_duplicates`.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        for name, items in case.test_sets.items():
            tests = Sketches.of(Texts.of([prompt for _, prompt in items], case.hashes))
            twins = near_twins(tests, case.sketches)
            if twins:
                yield self.finding(
                    name,
                    "error",
                    [items[test][0] for test in sorted(twins)],
                    len(items),
                    "Test prompts nearly repeat a training prompt, so what is measured on them is memory in part; take "
                    "these prompts out of the training data.",
                    key="data.train" if name in case.others else "data.eval",
                )
