"""From a sweep file to its runs, every one of them checked before the first begins."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from alignkit.errors import Problem, RecipeError, printable, shown
from alignkit.libraries.known import Libraries
from alignkit.recipe.composing import REMOVE
from alignkit.recipe.load import LoadedRecipe, Read, by_place, checked, read_roots
from alignkit.recipe.local import missing
from alignkit.recipe.overrides import override
from alignkit.recipe.stages import changed
from alignkit.recipe.tree import Node
from alignkit.sweep.config import Arm
from alignkit.sweep.points import Settings, drawn_points, grid_points
from alignkit.sweep.read import SweepFile
from alignkit.sweep.record import RUNS, SweepRun

SEED: Final = "seed"
MOST_RUNS: Final = 10_000
LONGEST_NAME: Final = 120
"""Characters of a run's name before its settings become a hash."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.=+-]+", re.ASCII)


@dataclass(frozen=True)
class PlannedRun:
    """One run.

    Attributes:
        name: arm, settings and seed in one word.
        arm: the method that it is of.
        settings: dotted key -> value, of what the sweep varies, seed apart.
        loaded: its recipe.
        recipe: the recipe's file, as messages name it.
        arguments: `--set` texts that make the recipe of that file this one.
        folder: its run folder, below the sweep's.
    """

    name: str
    arm: str
    settings: Mapping[str, Any]
    loaded: LoadedRecipe
    recipe: str
    arguments: Sequence[str]
    folder: str = ""

    @cached_property
    def text(self) -> str:
        """The whole recipe."""
        return self.loaded.to_yaml()

    def recorded(self) -> SweepRun:
        """What `sweep.json` says of it before it has begun."""
        return SweepRun(
            name=self.name,
            arm=self.arm,
            settings={**self.settings},
            seed=self.loaded.recipe.seed,
            folder=self.folder,
        )


def planned(file: SweepFile, overrides: Sequence[str], libraries: Libraries) -> list[PlannedRun]:
    """The runs of a sweep: seed by seed, so that what is there early compares all arms.

    Args:
        file: the sweep.
        overrides: `--set` texts, for all runs.
        libraries: those that recipes can name.

    Raises:
        RecipeError: with every problem of every run, each told once with the runs that have it.
    """
    maker = _Maker(file, overrides, libraries)
    seeds = file.node("seeds")
    nodes: Sequence[Node | None] = [None] if seeds is None else seeds.value
    arms = {name: [*maker.points(name, arm)] for name, arm in file.sweep.arms.items()}
    number = len(nodes) * sum(map(len, arms.values()))
    if number > MOST_RUNS:
        raise RecipeError(f"{printable(file.file.name)}: {number:,} runs; a sweep has at most {MOST_RUNS:,}")
    found: dict[str, PlannedRun] = {}
    for seed in nodes:
        for name, points in arms.items():
            for point in points:
                if (run := maker.run(name, point, seed)) is not None:
                    found.setdefault(run.name, run)
    maker.refuse()
    return list(_with_folders(found.values()))


def _with_folders(runs: Iterable[PlannedRun]) -> Iterator[PlannedRun]:
    """The runs with their folders: equal recipes are run once."""
    folders: dict[str, str] = {}
    for run in runs:
        yield replace(run, folder=folders.setdefault(run.text, f"{RUNS}/{run.name}"))


class _Maker:
    """Makes runs and collects what is wrong with them."""

    def __init__(self, file: SweepFile, overrides: Sequence[str], libraries: Libraries) -> None:
        self.file = file
        self.overrides = overrides
        self.libraries = libraries
        self.problems: dict[Problem, list[str]] = {}
        self._read: dict[str, Read | None] = {}
        self._drawn = [*drawn_points(file.sweep.random, file.node("random"))]

    def points(self, name: str, arm: Arm) -> Iterator[Settings]:
        """What varies between the runs of an arm, seeds apart."""
        grid = self.file.node("grid") if arm.grid is None else self.file.node("arms", name, "grid")
        fixed = {*self._fixed(name), *(one.partition("=")[0] for one in self.overrides)}
        random = self.file.node("random", "of")
        seeds = self.file.node("seeds")
        for key, node in [
            *(grid.value.items() if grid else ()),
            *(random.value.items() if random else ()),
            *([(SEED, seeds)] if seeds else ()),
        ]:
            if key in fixed:
                message = f"given twice: '{'--set' if key not in self._fixed(name) else 'set'}' gives it too"
                self._complain(Problem(str(node.place), printable(key), message), [])
        yield from ({**point, **drawn} for point in grid_points(grid) for drawn in self._drawn)

    def run(self, name: str, point: Settings, seed: Node | None) -> PlannedRun | None:
        """The run of an arm at a point; None where something is wrong with it."""
        recipe = self._recipe_of(name)
        if (read := self._read_of(name, recipe)) is None:
            return None
        values = {**point, **({} if seed is None else {SEED: seed})}
        called = _name(name, {key: node.plain() for key, node in values.items()})
        read, problems = self._with(read, name, values)
        loaded, more = checked(read, read.roots.shared)
        problems += more
        if loaded is not None and not problems:
            try:
                loaded.refuse(missing(loaded.recipe))
            except RecipeError as error:
                problems += error.problems
        for problem in problems:
            self._complain(problem, [called])
        if loaded is None or problems:
            return None
        arguments = [*_texts(self._fixed(name)), *self.overrides, *_texts(values)]
        settings = {key: node.plain() for key, node in point.items()}
        return PlannedRun(called, name, settings, loaded, recipe, arguments)

    def refuse(self) -> None:
        """Stops when anything is wrong.

        Raises:
            RecipeError: with all of it.
        """
        if self.problems:
            told = [replace(one, message=one.message + _in_runs(runs)) for one, runs in self.problems.items()]
            raise RecipeError(sorted(told, key=by_place))

    def _with(self, read: Read, name: str, values: Settings) -> tuple[Read, list[Problem]]:
        """What a recipe file gives with the sweep's settings, `--set` and a point on top."""
        roots, problems = read.roots, [*read.problems]
        steps = [*self._fixed(name).items(), *((text, None) for text in self.overrides), *values.items()]
        for key, node in steps:
            try:
                roots = override(roots, key) if node is None else changed(roots, key, node)
            except RecipeError as error:
                problems += error.problems
        return replace(read, roots=roots), problems

    def _fixed(self, name: str) -> Settings:
        """What all runs of an arm have, dotted key -> value."""
        nodes = (self.file.node("set"), self.file.node("arms", name, "set"))
        return {key: node for group in nodes if group is not None for key, node in group.value.items()}

    def _recipe_of(self, name: str) -> str:
        given = self.file.sweep.arms[name].recipe or self.file.sweep.recipe
        return self.file.file.beside(given).name

    def _read_of(self, name: str, recipe: str) -> Read | None:
        """A recipe file, read once; None where it cannot be used, which is said at its key."""
        if recipe not in self._read:
            own = self.file.node("arms", name, "recipe")
            node, key = (own, f"arms.{name}.recipe") if own is not None else (self.file.node("recipe"), "recipe")
            self._read[recipe] = None
            try:
                read = read_roots(Path(recipe), (), self.libraries)
            except RecipeError as error:
                here = {} if node is None else {"where": str(node.place), "key": key}
                for one in error.problems:
                    self._complain(one if one.where else replace(one, **here), [])
                return None
            if read.roots.stages:
                message = f"{shown(recipe)} has stages; a sweep runs recipes of one stage"
                self._complain(Problem(str(node.place) if node else "", key, message), [])
                return None
            self._read[recipe] = read
        return self._read[recipe]

    def _complain(self, problem: Problem, runs: Sequence[str]) -> None:
        self.problems.setdefault(problem, []).extend(runs)


def _texts(settings: Settings) -> list[str]:
    """The settings as `--set` takes them."""
    return [
        key if key.startswith(REMOVE) else f"{key}={json.dumps(node.plain(), ensure_ascii=False)}"
        for key, node in settings.items()
    ]


def _name(arm: str, values: Mapping[str, Any]) -> str:
    """A name that a folder can have; settings that would not go into one become a hash."""
    texts = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]
    plain = [text for text in texts if _PLAIN.fullmatch(text)]
    name = "-".join([arm, *plain])
    if len(plain) == len(texts) and len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(json.dumps(dict(values)).encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9]}-{digest}"


def _in_runs(runs: Sequence[str]) -> str:
    if not runs:
        return ""
    return f" (in run {runs[0]}{f' and {len(runs) - 1} more' if len(runs) > 1 else ''})"
