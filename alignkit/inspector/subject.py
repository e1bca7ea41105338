"""What a page is about, read from a run folder: what the run was, what came of it, and its rows."""

from __future__ import annotations

import hashlib
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignkit.errors import AlignkitError, RunFolderError, printable
from alignkit.evaluation.base import Measure
from alignkit.evaluation.records import read_samples, read_tokens
from alignkit.folder import DONE, RECIPE, RUN
from alignkit.inspector.cards import Card, cards_of_rows, cards_of_samples
from alignkit.recipe.load import load_recipe
from alignkit.recipe.recipe import Recipe
from alignkit.records.files import read_lines, read_record
from alignkit.records.run_record import RunRecord
from alignkit.report.reading import Numbers, reading
from alignkit.report.table import table_rows, verdict
from alignkit.result import RunResult

Values = Mapping[str, float]

SHOWN_DIGITS = 12
"""Of a hash."""


@dataclass(frozen=True)
class Subject:
    """What a page is about.

    Attributes:
        title: its heading.
        facts: what it was made of, name and value.
        recipe: the whole recipe as YAML.
        verdict: what the numbers allow to be said.
        remarks: further sentences on them.
        results: measure, before, after and change, as text.
        log: lines of `metrics.jsonl`.
        cards: rows, or groups of samples.
        notes: what the reader should know of it first.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    recipe: str
    verdict: str = ""
    remarks: Sequence[str] = ()
    results: Sequence[Sequence[str]] = ()
    log: Sequence[Values] = ()
    cards: Sequence[Card] = ()
    notes: Sequence[str] = ()


def subject_of(folder: Path, rows: int | None = None) -> Subject:
    """What a run folder holds.

    Args:
        folder: of a run, finished or stopped after its first evaluation.
        rows: most cards; None for all.

    Raises:
        RunFolderError: it is no run folder, or a record in it is damaged.
    """
    if not (folder / RECIPE).is_file() or not (folder / RUN).is_file():
        raise RunFolderError(f"{folder}: is no run folder, it holds no {RUN}; give one, or a recipe (.yaml)")
    record, result = read_record(folder / RUN, RunRecord), RunResult(folder)
    text, recipe = (folder / RECIPE).read_text(encoding="utf-8"), _recipe(folder)
    before, after, change = (result.evaluations.get(moment, {}) for moment in ("before", "after", "change"))
    log = result.metrics
    method = [] if recipe is None else [("method", method_of(recipe))]
    measures = () if recipe is None else recipe.evaluation.chosen
    return Subject(
        title=folder.resolve().name,
        facts=[*method, ("command", _command(record)), *facts_of(text, record), ("run", _times(record))],
        recipe=text,
        verdict=verdict(before, after, change) if after else "",
        remarks=reading(Numbers(log, before, after, change)) if after else (),
        results=_results(measures, before, after, change),
        log=log,
        cards=_cards(folder, rows),
        notes=() if (folder / DONE).is_file() else ("This run is not finished: what it has so far is shown.",),
    )


def facts_of(recipe: str, record: RunRecord) -> list[tuple[str, str]]:
    """What went into a run, for the head of its page."""
    return inputs_of(recipe, record.seed, record.fingerprints, record.versions | record.plugins | record.libraries)


def inputs_of(
    recipe: str, seed: int, fingerprints: Mapping[str, str], versions: Mapping[str, str]
) -> list[tuple[str, str]]:
    """The same of what is not a run yet."""
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:SHOWN_DIGITS]
    names = {"data": "data fingerprint", "model": "start model fingerprint", "template": "chat template"}
    prints = [
        (names.get(key, key), "+".join(p[:SHOWN_DIGITS] for p in value.split("+")))
        for key, value in fingerprints.items()
    ]
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [("recipe", f"sha256 {digest}"), *prints, ("seed", str(seed)), ("versions", said)]


def method_of(recipe: Recipe) -> str:
    """A recipe in some words."""
    losses = " + ".join(loss.name for loss in recipe.losses)
    return f"{losses}, trainer {recipe.trainer.name}, token weights {recipe.weighting.name}, model {recipe.model.name}"


def _recipe(folder: Path) -> Recipe | None:
    """None where it does not validate any more, a plugin being gone for one."""
    try:
        return load_recipe(folder / RECIPE).recipe
    except AlignkitError:
        return None


def _cards(folder: Path, most: int | None) -> Sequence[Card]:
    try:
        rows = cards_of_rows(read_tokens(folder), read_samples(folder))
        return rows[:most] if rows else _groups(folder, most)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise RunFolderError(f"{folder}: its records of tokens are damaged ({printable(said)}); restore them") from None


def _command(record: RunRecord) -> str:
    name, *arguments = record.command or ("alignkit",)
    return shlex.join([Path(name).name, *arguments])


def _times(record: RunRecord) -> str:
    resumed = f", resumed {len(record.resumed)} times" if record.resumed else ""
    return f"{record.started} to {record.ended or 'unfinished'}{resumed}"


def _results(measures: Sequence[Measure], before: Values, after: Values, change: Values) -> list[tuple[str, ...]]:
    """The table of the report, by the measures' own labels; by their keys where the recipe's parts are gone."""
    labelled = list(table_rows(measures, before, after, change))
    return labelled or [(key, _cell(before.get(key)), _cell(after.get(key)), _cell(change.get(key))) for key in before]


def _cell(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


def _groups(folder: Path, most: int | None) -> list[Card]:
    """Groups of sampled responses, evenly from the first step that has some to the last."""
    lines = (line for path in sorted((folder / "samples").glob("step_*.jsonl")) for line in _lines(path))
    cards = list(cards_of_samples(lines))
    count = min(most or 40, len(cards))
    return [cards[round(index * (len(cards) - 1) / max(1, count - 1))] for index in range(count)]


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    """As many as can be read."""
    try:
        return read_lines(path)
    except (OSError, ValueError):
        return []
