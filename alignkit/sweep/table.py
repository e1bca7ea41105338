"""What came of a sweep: a row for each arm and point, a column for each measure, in a cell the mean over seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from rich.box import ROUNDED
from rich.console import Console
from rich.table import Table

from alignkit.compare.folders import Folder, read_folder
from alignkit.errors import RecipeError, shown
from alignkit.intervals import Interval, interval, mean
from alignkit.recipe.recipe import Recipe
from alignkit.registry import suggestion
from alignkit.result import RunResult
from alignkit.sweep.record import SweepRecord, SweepRun

DIGITS = 3
"""After the point, in a cell."""

MOST_COLUMNS = 10_000
"""Of a terminal that no table is too wide for."""


@dataclass(frozen=True)
class Row:
    """One point of one arm.

    Attributes:
        arm: the method.
        settings: dotted key -> value, what the point is.
        seeds: those that finished.
        missing: how many did not.
        measures: name -> its mean after training with the interval over seeds; of one seed, that over its prompts.
    """

    arm: str
    settings: Mapping[str, Any]
    seeds: Sequence[int]
    missing: int
    measures: Mapping[str, Interval]


def rows_of(record: SweepRecord, folder: Path) -> list[Row]:
    """The rows of the table, arm by arm.

    Raises:
        AlignkitError: what a finished run measured cannot be read.
    """
    groups: dict[tuple[str, str], list[SweepRun]] = {}
    for arm in record.arms:
        for run in (run for run in record.runs if run.arm == arm):
            groups.setdefault((arm, json.dumps(run.settings)), []).append(run)
    return [_row(runs, folder) for runs in groups.values()]


def _row(runs: Sequence[SweepRun], folder: Path) -> Row:
    finished = [run for run in runs if run.state == "finished"]
    found = [(folder / run.folder, RunResult(folder / run.folder).evaluations.get("after", {})) for run in finished]
    names = dict.fromkeys(name for _, values in found for name in values if f"{name}_se" in values)
    read = cache(lambda path: read_folder(path, "after"))
    measures = {name: _over_seeds([one for one in found if name in one[1]], name, read) for name in names}
    first = runs[0]
    return Row(first.arm, first.settings, [run.seed for run in finished], len(runs) - len(finished), measures)


def _over_seeds(
    found: Sequence[tuple[Path, Mapping[str, float]]], name: str, read: Callable[[Path], Folder]
) -> Interval:
    if len(found) > 1:
        return mean([values[name] for _, values in found])
    ((path, values),) = found
    return _of_rows(read(path), name) or interval(values[name], values[f"{name}_se"], n=1, df=math.inf)


def _of_rows(folder: Folder, name: str) -> Interval | None:
    """From the rows of one run, of which those of one prompt are one witness; None of what is no mean of rows."""
    for one in folder.sets.values():
        if (numbers := one.numbers.get(name)) is not None:
            items = [*numbers.records]
            return mean(numbers.over(items), [one.clusters[item] for item in items])
    return None


def reported(recipe: Recipe) -> list[str]:
    """The measures that a run's own table shows, in its order."""
    return [value.name for measure in recipe.evaluation.chosen for value in measure.values if value.label is not None]


def measured(recipes: Sequence[Recipe]) -> set[str]:
    """All measures that runs of these recipes may have."""
    return {value.name for one in recipes for measure in one.evaluation.chosen for value in measure.values}


def refuse_unknown(report: Sequence[str] | None, recipes: Sequence[Recipe]) -> None:
    """Refuses measures that no run will have.

    Raises:
        RecipeError: naming those that there are.
    """
    known = measured(recipes)
    for name in report or ():
        if name not in known:
            raise RecipeError(f"report: no measure is called {shown(name)}; {suggestion(name, sorted(known))}")


TOLD: Final = ("value", "se", "low", "high", "level", "n", "df")
"""Of an interval, in `table.json`."""


def as_json(rows: Sequence[Row], measures: Sequence[str]) -> dict[str, Any]:
    """What `table.json` holds; NaN and infinity are null there."""
    return {
        "measures": [*measures],
        "rows": [
            {
                "arm": row.arm,
                "settings": {**row.settings},
                "seeds": [*row.seeds],
                "missing": row.missing,
                "values": {name: row.measures[name].numbers(*TOLD) for name in measures if name in row.measures},
            }
            for row in rows
        ],
    }


def tables_of(rows: Sequence[Row], measures: Sequence[str], width: int) -> Iterator[Table]:
    """The same for a terminal, in as many tables as it takes to be read at this width; columns."""
    left = [name for name in measures if any(name in row.measures for row in rows)]
    wide = Console(width=MOST_COLUMNS)
    while True:
        count = len(left)
        while count > 1 and wide.measure(_table(rows, left[:count])).maximum > width:
            count -= 1
        yield _table(rows, left[:count])
        left = left[count:]
        if not left:
            return


def _table(rows: Sequence[Row], measures: Sequence[str]) -> Table:
    """Of a setting its last key, of a measure its mean +- half of its interval."""
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    table = Table(box=ROUNDED)
    for key in ("arm", *map(short, keys)):
        table.add_column(key, overflow="fold")
    for name in ("seeds", *measures):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        settings = [_text(row.settings[key]) if key in row.settings else "" for key in keys]
        count = f"{len(row.seeds)} of {len(row.seeds) + row.missing}" if row.missing else str(len(row.seeds))
        cells = [_cell(row.measures[name]) if name in row.measures else "-" for name in measures]
        table.add_row(row.arm, *settings, count, *cells)
    return table


def short(key: str) -> str:
    """The last steps of a dotted key that say something: `losses.0.beta` is `beta`."""
    return key.rpartition(".")[2] or key


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cell(one: Interval) -> str:
    if not math.isfinite(one.value):
        return "NaN"
    half = (one.high - one.low) / 2
    return f"{one.value:.{DIGITS}f}" + (f"\n+-{half:.{DIGITS}f}" if math.isfinite(half) else "")
