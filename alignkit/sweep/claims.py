"""Claims of a paper, tested on a sweep: the paper's direction, ours with its interval, and a verdict from the interval.

A claim compares two arms on the same held-out rows and seeds, or how much one of them changes between two points of the
grid beyond the other. Two things are drawn by chance, rows and seeds; their variances are added, as in
`alignkit.intervals.seeds_with_own_items`, with rows that have a prompt in common as clusters, over all seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.box import ROUNDED
from rich.table import Table

from alignkit.compare.folders import Folder, read_folder
from alignkit.compare.measured import ItemSet
from alignkit.compare.pairing import require
from alignkit.errors import CompareError, RecipeError, printable, shown
from alignkit.intervals import Interval, seeds_with_own_items
from alignkit.registry import Section, suggestion
from alignkit.sweep.record import SweepRun

WHAT_VERDICTS_ARE = (
    "claims: 95 % intervals over seeds and held-out prompts, not corrected for their number; verdicts are of this "
    "model and data alone"
)

Verdict = Literal["replicated", "not replicated", "cannot tell"]

FEWEST_SEEDS = 2
"""One seed says nothing of others, so nothing is concluded from it."""


class Claim(Section):
    """What a paper says of two arms, and how large an effect would matter here."""

    name: str = Field(min_length=1, max_length=80)
    """What tables call it."""

    paper: str = Field(min_length=1)
    """The paper's sentence or numbers, with the place."""

    metric: str
    """The measure of `eval.json` that it is tested with."""

    of: str
    """The arm that the claim is of."""

    than: str
    """The arm that it is compared with."""

    where: dict[str, Any] = Field(default_factory=dict)
    """Dotted key -> value: the point of the grid at which both are compared; empty where each has one point."""

    minus: dict[str, Any] | None = None
    """Another point: the claim is of how the difference changes from there to `where`."""

    direction: Literal["higher", "lower"]
    """Which way the difference goes in the paper."""

    matters: float = Field(gt=0)
    """The smallest difference that would matter, in the measure's unit; an interval that leaves it out in the paper's
    direction speaks against the claim even if it holds 0."""


@dataclass(frozen=True)
class Outcome:
    """What came of a claim.

    Attributes:
        claim: the claim.
        difference: of - than, or the change of that, with its interval.
        seeds: how many; None where nothing was trained, so that there are none.
        visible: the smallest true difference of which four of five such sweeps would see that it is not 0.
    """

    claim: Claim
    difference: Interval
    seeds: int | None
    visible: float

    @property
    def _has_few_seeds(self) -> bool:
        return self.seeds is not None and self.seeds < FEWEST_SEEDS

    @property
    def _towards(self) -> tuple[float, float]:
        """The interval, with the paper's direction upwards."""
        of = self.difference
        return (of.low, of.high) if self.claim.direction == "higher" else (-of.high, -of.low)

    @property
    def verdict(self) -> Verdict:
        """From the interval, never from the number itself."""
        low, high = self._towards
        if self._has_few_seeds or math.isnan(low) or self.difference.se == 0:
            return "cannot tell"
        if low > 0:
            return "replicated"
        return "not replicated" if high < self.claim.matters else "cannot tell"

    @property
    def words(self) -> str:
        """The verdict with what it rests on."""
        if self.verdict == "not replicated":
            why = "the opposite" if self._towards[1] < 0 else f"an effect of {self.claim.matters:g} is excluded"
            return f"{self.verdict} ({why})"
        if self.verdict == "replicated":
            return (
                f"{self.verdict} (less than {self.claim.matters:g})"
                if self._towards[1] < self.claim.matters
                else self.verdict
            )
        if self._has_few_seeds:
            return f"{self.verdict} (measured with {self.seeds} of at least {FEWEST_SEEDS} seeds)"
        if (
            not self.difference.se > 0
        ):  # all rows differ alike, as of runs that are one run, or one prompt is all there is
            return f"{self.verdict} (no spread to judge by)"
        return f"{self.verdict} (smallest visible effect {self.visible:.2g})"


# --- from runs to outcomes ---


def refuse_unknown(claims: Sequence[Claim], runs: Sequence[SweepRun], metrics: Collection[str]) -> None:
    """Refuses claims that the sweep cannot test.

    Args:
        claims: of the sweep.
        runs: all of them.
        metrics: the measures that runs will have.

    Raises:
        RecipeError: naming the claim and what is wrong.
    """
    for number, claim in enumerate(claims):
        if claim.metric not in metrics:
            message = f"no measure is called {shown(claim.metric)}; {suggestion(claim.metric, sorted(metrics))}"
            raise RecipeError(f"claims.{number}.metric: {message}")
        for arm in (claim.of, claim.than):
            for point in _points(claim):
                try:
                    _by_seed(runs, arm, point)
                except CompareError as error:
                    raise RecipeError(f"claims.{number} ({printable(claim.name)}): {error}") from None


def tested(claims: Sequence[Claim], runs: Sequence[SweepRun], folder: Path) -> list[Outcome]:
    """What came of each claim, over the seeds of which all runs are finished and have the measure.

    Args:
        claims: of the sweep.
        runs: its runs.
        folder: of the sweep.

    Raises:
        AlignkitError: a record is damaged, or the held-out rows of two arms differ.
    """
    read: dict[str, Folder] = {}

    def measured(run: SweepRun) -> Folder:
        if run.folder not in read:
            read[run.folder] = read_folder(folder / run.folder, "after")
        return read[run.folder]

    return [_tested(claim, runs, measured) for claim in claims]


def _tested(claim: Claim, runs: Sequence[SweepRun], measured: Callable[[SweepRun], Folder]) -> Outcome:
    terms = [
        (sign * side, _by_seed(runs, arm, point))
        for sign, point in zip((1, -1), _points(claim), strict=False)
        for side, arm in ((1, claim.of), (-1, claim.than))
    ]
    seeds = [seed for seed in terms[0][1] if all(_is_finished(of.get(seed)) for _, of in terms)]
    by_seed = [[(sign, measured(of[seed])) for sign, of in terms] for seed in seeds]
    found = [_of_seed(one, claim.metric) for one in by_seed if all(_set_of(folder, claim.metric) for _, folder in one)]
    difference = seeds_with_own_items([values for values, _ in found], [prompts for _, prompts in found])
    return Outcome(claim, difference, len(found), difference.visible())


def _of_seed(terms: Sequence[tuple[int, Folder]], metric: str) -> tuple[list[float], list[str]]:
    """The signed sum of what each row adds to the measure, and the prompts of the rows."""
    sets = [one for _, folder in terms if (one := _set_of(folder, metric)) is not None]
    for _, folder in terms[1:]:
        require([terms[0][1], folder], sets[0].name)
    numbers = [one.numbers[metric] for one in sets]
    items = [item for item in numbers[0].records if all(item in one.records for one in numbers[1:])]
    columns = [[sign * part for part in one.over(items)] for (sign, _), one in zip(terms, numbers, strict=True)]
    return [math.fsum(row) for row in zip(*columns, strict=True)], [sets[0].clusters[item] for item in items]


def _set_of(folder: Folder, metric: str) -> ItemSet | None:
    """The items that have it; None where it could not be measured, such as Self-BLEU of prompts that are asked once."""
    return next((one for one in folder.sets.values() if metric in one.numbers), None)


def _points(claim: Claim) -> list[Mapping[str, Any]]:
    return [claim.where] if claim.minus is None else [claim.where, claim.minus]


def _by_seed(runs: Sequence[SweepRun], arm: str, point: Mapping[str, Any]) -> dict[int, SweepRun]:
    """Seed -> the run of an arm at a point.

    Raises:
        CompareError: there is none, or several.
    """
    own = [run for run in runs if run.arm == arm]
    if not own:
        arms = sorted({run.arm for run in runs})
        raise CompareError(f"no arm is called {shown(arm)}; {suggestion(arm, arms)}")
    found: dict[int, SweepRun] = {}
    for run in own:
        if all(key in run.settings and run.settings[key] == value for key, value in point.items()):
            if run.seed in found:
                keys = ", ".join(printable(key) for key in run.settings if key not in point)
                raise CompareError(f"arm {printable(arm)} has several runs there; say where, by {keys}")
            found[run.seed] = run
    if not found:
        raise CompareError(f"arm {printable(arm)} has no run where {shown(dict(point))}")
    return found


def _is_finished(run: SweepRun | None) -> bool:
    return run is not None and run.state == "finished"


# --- what is told of them ---


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """What `table.json` holds of them; NaN and infinity are null there."""
    return [
        {**one.claim.model_dump(mode="json"), **_numbers(one), "verdict": one.verdict, "words": one.words}
        for one in outcomes
    ]


def _numbers(one: Outcome) -> dict[str, float | None]:
    visible = one.visible if math.isfinite(one.visible) else None
    known = one.difference.numbers("value", "se", "low", "high", "level", "df")
    return {**known, "smallest_visible": visible, "seeds": one.seeds}


def table_of(outcomes: Sequence[Outcome]) -> Table:
    """The same for a terminal."""
    table = Table(box=ROUNDED)
    for name in ("claim", "paper", "here", "verdict"):
        table.add_column(name, overflow="fold")
    for one in outcomes:
        claim, of = one.claim, one.difference
        what = "" if claim.minus is None else ", change"
        said = f"{claim.metric} {claim.direction}: {claim.of} - {claim.than}{what}"
        interval = f"\n[{of.low:+.3f}, {of.high:+.3f}]" if math.isfinite(of.low) else ""
        table.add_row(claim.name, said, f"{of.value:+.3f}{interval}" if math.isfinite(of.value) else "-", one.words)
    return table
