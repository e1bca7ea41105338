"""Test prompts of which long pieces stand in a training text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from alignkit.doctor.base import Check, Finding, Level
from alignkit.doctor.case import Case
from alignkit.doctor.grams import Texts
from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray

SIZE = 8
"""Words of a run."""

LEAST = 0.5
"""Share of a test prompt's words that runs shared with one training text must cover."""

MOST_ITEMS = 10
"""Different test prompts that may share a run; what more of them share is their form and not their content."""


class Overlap(Check):
    """Test prompts half of whose words stand, in runs of 8, in one training text.

    Finds what near duplicates miss: a test prompt inside a longer text. Runs that more than 10 test prompts share are
    passed over, and prompts of fewer than 8 words have none. In training prompts an error, in responses a warning.
    open-instruct decontaminates with the same score.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        if not case.test_sets:
            return
        responses = dict.fromkeys(text for row in case.train for text in row.responses.values())
        in_responses = Texts.of(list(responses), case.hashes)
        looked_in: tuple[tuple[str, Level, Texts], ...] = (
            ("prompts", "error", case.prompt_words),
            ("responses", "warn", in_responses),
        )
        for name, items in case.test_sets.items():
            tests = Texts.of([prompt for _, prompt in items], case.hashes)
            for what, level, texts in looked_in:
                hits = covered(tests, texts)
                if hits:
                    yield self.finding(
                        f"{name} in training {what}",
                        level,
                        [items[hit][0] for hit in hits],
                        len(items),
                        f"At least half of a test prompt's words stand in one of the training {what}, in runs of "
                        f"{SIZE}; take these rows out of the training data.",
                        key="data.train" if name in case.others else "data.eval",
                        values={"shorter_than_a_run": int((tests.lengths < SIZE).sum())},
                    )


def covered(tests: Texts, texts: Texts) -> list[int]:
    """Numbers of the tests that one of the texts covers to `LEAST`."""
    runs = tests.grams(SIZE, short=False)
    holders = _holders(runs.numbers, runs.text, runs.starts)
    others = texts.grams(SIZE, short=False)
    known = np.sort(np.fromiter(holders, np.uint64, len(holders)))
    if not len(known) or not len(others.numbers):
        return []
    place = np.minimum(np.searchsorted(known, others.numbers), len(known) - 1)
    met = np.flatnonzero(known[place] == others.numbers)
    found = defaultdict[tuple[int, int], set[int]](set)
    for text, number in dict.fromkeys(zip(others.text[met].tolist(), others.numbers[met].tolist(), strict=True)):
        for test, first in holders[number]:
            found[test, text].add(first)
    lengths = tests.lengths.tolist()
    return sorted({test for (test, _), firsts in found.items() if _num_covered(firsts) >= LEAST * lengths[test]})


def _holders(numbers: ndarray, tests: ndarray, starts: ndarray) -> dict[int, list[tuple[int, int]]]:
    """Run -> the tests that hold it, with its place in each; without runs of too many tests."""
    first = (np.arange(len(numbers)) - starts[tests]).tolist() if len(numbers) else []
    held = defaultdict[int, list[tuple[int, int]]](list)
    for number, test, place in zip(numbers.tolist(), tests.tolist(), first, strict=True):
        held[number].append((test, place))
    return {number: places for number, places in held.items() if len({test for test, _ in places}) <= MOST_ITEMS}


def _num_covered(firsts: set[int]) -> int:
    """Words that runs beginning at these places cover."""
    return len({first + step for first in firsts for step in range(SIZE)})
