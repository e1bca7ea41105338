"""The folders that are compared: runs that are finished, or what `alignkit evaluate` wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from alignkit.compare.measured import ItemSet, item_sets
from alignkit.errors import CompareError, printable, shown
from alignkit.evaluation import measures as known_measures
from alignkit.evaluation.base import Measure
from alignkit.evaluation.config import BUILT_IN
from alignkit.folder import DONE, RECIPE, RUN, recorded_recipe, resume_command
from alignkit.recipe.changes import values_of
from alignkit.recipe.stages import STAGES_KEY
from alignkit.records.evaluation_record import EVALUATION, EvaluationRecord
from alignkit.records.files import read_record
from alignkit.records.run_record import RunRecord
from alignkit.registry import RegistryError

Moment = Literal["before", "after"]


@dataclass(frozen=True)
class Folder:
    """One folder with what it measured.

    Attributes:
        path: where it is.
        is_run: whether a model was trained in it.
        recipe: the values of its recipe.
        data: fingerprint of its data, if it is recorded.
        sets: what was measured, by the item set's name.
        notes: what the user should know of it.
    """

    path: Path
    is_run: bool
    recipe: Mapping[str, Any]
    data: str | None
    sets: Mapping[str, ItemSet]
    notes: Sequence[str]

    @property
    def seed(self) -> int | None:
        """Of the recipe."""
        seed = self.recipe.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def places(self) -> list[tuple[str, str]]:
        """Item set and measure of all that was measured."""
        return [(name, measure) for name, items in self.sets.items() for measure in items.numbers]

    @property
    def recipe_but_seed(self) -> dict[str, Any]:
        """What seeds of one method have in common."""
        return {key: value for key, value in self.recipe.items() if key != "seed"}


def read_folder(path: Path, moment: Moment) -> Folder:
    """A folder, whole.

    Args:
        path: a run folder or one of `alignkit evaluate`.
        moment: of a run; in the other kind of folder there is only one.

    Raises:
        CompareError: it is no such folder, or its run is not finished, or a file is damaged.
        RunFolderError: its records are damaged.
    """
    if (path / EVALUATION).is_file():
        record = read_record(path / EVALUATION, EvaluationRecord)
        if record.ended is None:
            raise CompareError(f"{path}: its evaluation is not finished; finish it with --output {path} once more")
        recipe, is_run = values_of(record.recipe.encode(), str(path / EVALUATION)), False
        data = record.fingerprints.get("data")
    else:
        _insist(path)
        data = read_record(path / RUN, RunRecord).fingerprints.get("data")
        recipe, is_run = recorded_recipe(path), True
    values = recipe if isinstance(recipe, dict) else {}
    measures, notes = _measures(path, values)
    sets = {one.name: one for one in item_sets(path, moment if is_run else "alone", measures)}
    if not sets:
        what = f"'{moment}'" if is_run else "in it"
        raise CompareError(f"{path}: nothing was measured {what}; see 'evaluation' of its recipe")
    return Folder(path, is_run, values, data, sets, notes)


def _insist(path: Path) -> None:
    """Raises CompareError where no finished run is."""
    if not path.is_dir():
        raise CompareError(f"{path}: no such folder; give run folders, or folders of alignkit evaluate")
    if not (path / RUN).is_file():
        if stages := _stages(path):
            names = ", ".join(f"{path}/{number}-{name}" for number, name in enumerate(stages, 1))
            raise CompareError(f"{path}: holds a pipeline; compare its stages: {printable(names)}")
        raise CompareError(f"{path}: holds neither {RUN} nor {EVALUATION}; give a folder of alignkit run or evaluate")
    if not (path / DONE).is_file():
        raise CompareError(f"{path}: its run is not finished; finish it with {resume_command(path)}")


def _stages(path: Path) -> list[str]:
    """Names of a pipeline's stages; none of another folder."""
    recipe = recorded_recipe(path) if (path / RECIPE).is_file() else None
    stages = recipe.get(STAGES_KEY) if isinstance(recipe, dict) else None
    return list(stages) if isinstance(stages, dict) else []


def _measures(path: Path, recipe: Mapping[str, Any]) -> tuple[Sequence[Measure], list[str]]:
    """The measures of a recorded recipe, and a line about each that is not here."""
    evaluation = recipe.get("evaluation")
    named = evaluation.get("measures") if isinstance(evaluation, dict) else None
    if not isinstance(named, list):
        return BUILT_IN, []
    found, notes = [], []
    for one in named:
        values = one if isinstance(one, dict) else {"name": one}
        try:
            found.append(known_measures.build(str(values.get("name")), values))
        except (RegistryError, ValidationError):
            notes.append(f"{path}: measure {shown(values.get('name'))} is not here as it was; its values are left out")
    return found, notes
