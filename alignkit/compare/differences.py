"""From methods to differences with intervals, p-values and what would have been seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from alignkit.compare.folders import Folder, Moment
from alignkit.compare.measured import SET_NAMES, Numbers
from alignkit.compare.methods import Method, methods_of
from alignkit.compare.pairing import common, misfit, require
from alignkit.compare.record import Compared, Comparison, Line, Over
from alignkit.compare.words import sentence
from alignkit.errors import CompareError, printable
from alignkit.intervals import (
    Interval,
    holm,
    mcnemar,
    paired,
    seeds_and_items,
    seeds_with_own_items,
)
from alignkit.lazy import numpy as np
from alignkit.registry import suggestion

POWER = 0.8
"""Share of comparisons that see the smallest visible effect."""

_BOTH: Final = "seeds and items"


@dataclass(frozen=True)
class Difference:
    """One measure of two methods, before the others are known.

    Attributes:
        interval: of other - base.
        values: means of base and other.
        over: what the interval is over.
        clusters: how many the items have.
        discordant: items of a 0/1 score that base alone, and other alone, has right; None of another score.
        is_share: whether all numbers are 0, 1/2 or 1 and better high, or scores of a benchmark from 0 to 1.
    """

    interval: Interval
    values: tuple[float, float]
    over: Over
    clusters: int
    discordant: tuple[int, int] | None
    is_share: bool

    @property
    def p_mcnemar(self) -> float:
        """As if items were independent; NaN of another score."""
        return mcnemar(*self.discordant) if self.discordant is not None else math.nan

    @property
    def test(self) -> Literal["mcnemar", "t"]:
        """McNemar's where it applies: to independent items."""
        return "mcnemar" if self.discordant is not None and self.clusters == self.interval.n else "t"

    @property
    def p(self) -> float:
        """Of that test."""
        return self.p_mcnemar if self.test == "mcnemar" else self.interval.p


def compare(
    arguments: Sequence[str | Path], measures: Sequence[str] = (), moment: Moment = "after", level: float = 0.95
) -> Comparison:
    """Compares methods with the first of them.

    Args:
        arguments: folders, or `NAME=FOLDER,FOLDER`.
        measures: those to compare; none for all.
        moment: of runs.
        level: of intervals.

    Raises:
        AlignkitError: nothing can be compared, in one line that says why.
    """
    if not 0 < level < 1:
        raise CompareError(f"--level: must be above 0 and below 1, such as 0.95, got {level:g}")
    methods, notes = methods_of(arguments, moment)
    shared = _shared(methods)
    places = _places(methods, shared, measures)
    pairs = [(methods[0], other, *place) for other in methods[1:] for place in places]
    found = [_difference(base, other, name, measure, level) for base, other, name, measure in pairs]
    corrected = holm([one.p for one in found])
    lines = [
        _line(pair, difference, p_holm, level) for pair, difference, p_holm in zip(pairs, found, corrected, strict=True)
    ]
    return Comparison(
        moment=moment,
        level=level,
        power=POWER,
        family=sum(not math.isnan(p) for p in corrected),
        methods=[_compared(method) for method in methods],
        lines=lines,
        notes=[*notes, *_left_out(methods, shared, places, measures), *_notes(methods)],
    )


# --- what is compared ---


def _shared(methods: Sequence[Method]) -> list[tuple[str, str]]:
    """Item set and measure of all that every folder has, in the order of the first."""
    folders = [folder for method in methods for folder in method.folders]
    shared = [place for place in folders[0].places if all(place in other.places for other in folders)]
    if not shared:
        raise CompareError(f"{folders[0].path} and {folders[-1].path}: no measure is in all of them; measure the same")
    return shared


def _places(
    methods: Sequence[Method], shared: Sequence[tuple[str, str]], wanted: Sequence[str]
) -> list[tuple[str, str]]:
    """Those that are asked for, or else those that reports have: each more costs the others of their certainty."""
    names = [measure for _, measure in shared]
    for one in wanted:
        if one not in names:
            raise CompareError(f"--measure {printable(one)}: is not measured in all of them; {suggestion(one, names)}")
    if wanted:
        return [place for place in shared if place[1] in wanted]
    sets = methods[0].folders[0].sets
    return [(name, measure) for name, measure in shared if sets[name].numbers[measure].is_reported] or list(shared)


def _left_out(
    methods: Sequence[Method],
    shared: Sequence[tuple[str, str]],
    places: Sequence[tuple[str, str]],
    wanted: Sequence[str],
) -> Iterator[str]:
    measured = dict.fromkeys(place for method in methods for folder in method.folders for place in folder.places)
    rest = [measure for name, measure in measured if (name, measure) not in shared]
    if rest and not wanted:
        yield f"not measured in all of them, and left out: {', '.join(map(printable, rest))}"
    details = [measure for name, measure in shared if (name, measure) not in places]
    if details and not wanted:
        yield f"compared with --measure only: {', '.join(map(printable, details))}"


def _notes(methods: Sequence[Method]) -> Iterator[str]:
    if alone := [method.name for method in methods if len(method.folders) == 1]:
        yield (
            f"one run of {', '.join(alone)}: what another seed would change there is not in the intervals; "
            "several are given as NAME=RUN,RUN"
        )
    for folder in (folder for method in methods for folder in method.folders):
        for name, items in folder.sets.items():
            most = max(len(one.sets[name].prompts) for m in methods for one in m.folders if name in one.sets)
            if len(items.prompts) < most:
                yield f"{folder.path} has {len(items.prompts):,} {name}, others {most:,}; those in common are compared"


# --- one measure of two methods ---


def _difference(base: Method, other: Method, name: str, measure: str, level: float) -> Difference:
    """Pairs where the items allow it: all folders with each other, or else the same seeds with each other."""
    everyone = [*base.folders, *other.folders]
    same_seeds = base.seeds == other.seeds and base.has_seeds
    if same_seeds and any(misfit(base.folders[0], one, name) for one in everyone):
        return _seed_by_seed(base, other, name, measure, level)
    require(everyone, name)
    items = common(everyone, name, measure)
    clusters = [base.folders[0].sets[name].clusters[item] for item in items]
    sides = [_matrix(method.folders, name, measure, items) for method in (base, other)]
    single = len(everyone) == 2
    if single or not items:
        found = paired(sides[1][0], sides[0][0], clusters, level)
    else:
        found = seeds_and_items(sides[1], sides[0], clusters, level, same_seeds=same_seeds)
    over: Over = "items" if single else _BOTH
    discordant = _discordant(sides[0][0], sides[1][0]) if single else None
    means = (_mean(sides[0]), _mean(sides[1]))
    return Difference(found, means, over, len(set(clusters)), discordant, _is_share(base, name, measure, sides))


def _seed_by_seed(base: Method, other: Method, name: str, measure: str, level: float) -> Difference:
    """Each seed has items of its own, on which its two runs are paired."""
    sides, clusters = [], []
    for pair in zip(base.folders, other.folders, strict=True):
        require(pair, name)
        items = common(pair, name, measure)
        sides.append(_matrix(pair, name, measure, items))
        clusters.append([pair[0].sets[name].clusters[item] for item in items])
    differences = [[b - a for a, b in zip(*both, strict=True)] for both in sides]
    found = seeds_with_own_items(differences, clusters, level)
    means = (_mean([[value for both in sides for value in both[side]]]) for side in (0, 1))
    count = len({cluster for of_seed in clusters for cluster in of_seed})
    return Difference(found, (next(means), next(means)), _BOTH, count, None, _is_share(base, name, measure, sides))


def _matrix(folders: Sequence[Folder], name: str, measure: str, items: Sequence[str]) -> list[list[float]]:
    """[S, n] of each folder its numbers."""
    return [folder.sets[name].numbers[measure].over(items) for folder in folders]


def _mean(rows: Sequence[Sequence[float]]) -> float:
    return float(np.mean(rows)) if rows and rows[0] else math.nan


def _discordant(base: Sequence[float], other: Sequence[float]) -> tuple[int, int] | None:
    """Items that one alone has right, where all numbers are 0 or 1."""
    if not {*base, *other} <= {0.0, 1.0}:
        return None
    pairs = list(zip(base, other, strict=True))
    return pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0))


def _is_share(base: Method, name: str, measure: str, sides: Sequence[Sequence[Sequence[float]]]) -> bool:
    found = {value for side in sides for row in side for value in row}
    if base.folders[0].sets[name].numbers[measure].better != "higher":
        return False  # a KL of 0 everywhere
    if name not in SET_NAMES.values():
        return all(0 <= value <= 1 for value in found)
    return found <= {0.0, 0.5, 1.0}


# --- what is told of it ---


def _compared(method: Method) -> Compared:
    return Compared(name=method.name, folders=[str(one.path) for one in method.folders], seeds=method.seeds)


def _line(pair: tuple[Method, Method, str, str], found: Difference, p_holm: float, level: float) -> Line:
    base, other, name, measure = pair
    numbers: Numbers = base.folders[0].sets[name].numbers[measure]
    interval, discordant = found.interval, found.discordant or (None, None)
    visible = interval.visible(POWER)
    line = Line(
        base=base.name,
        other=other.name,
        measure=measure,
        label=numbers.label,
        item_set=name,
        better=numbers.better,
        is_share=found.is_share,
        digits=numbers.digits,
        items=interval.n,
        clusters=found.clusters,
        **_known(
            base_value=found.values[0],
            other_value=found.values[1],
            difference=interval.value,
            se=interval.se,
            low=interval.low,
            high=interval.high,
            df=interval.df,
            p=found.p,
            p_mcnemar=found.p_mcnemar,
            p_holm=p_holm,
            smallest_visible=visible if interval.se else math.nan,
        ),
        over=found.over,
        test=found.test,
        only_base=discordant[0],
        only_other=discordant[1],
        sentence="",
    )
    return line.model_copy(update={"sentence": sentence(line, level)})


def _known(**numbers: float) -> Mapping[str, float | None]:
    """JSON has no NaN: it becomes null."""
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}
