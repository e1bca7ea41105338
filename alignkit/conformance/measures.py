"""What measures promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from alignkit.conformance.stage import RECIPES, Stage, stage
from alignkit.data.rows import TokenRow
from alignkit.evaluation.base import Measure
from alignkit.evaluation.scene import HeldOut, Scene
from alignkit.registry import dump_component


def _stages(measure: Measure) -> list[Stage]:
    """One for each kind of view that it has something to say of."""
    return [stage(gives) for gives in RECIPES if measure.misfit(gives, on_world=True) is None]


def _said(measure: Measure, of: Stage, rows: Sequence[TokenRow] | None = None) -> list[dict[str, Any]]:
    reference = (lambda: of.reference) if of.scoring.needs.reference else None
    scene = Scene(of.scoring, of.recipe.evaluation, reference, on_world=True)
    held_out = HeldOut(scene, rows or of.held_out, measure.looks_at, weigh=measure.weighs(scene))
    return [dict(one) for one in measure.per_row(held_out)]


def _says_something(measure: Measure) -> Iterator[str]:
    """has something to say of what a trainer gives"""
    if not _stages(measure):
        yield "misfit() refuses pairs, responses and labelled responses"


def _speaks_of_each_row(measure: Measure) -> Iterator[str]:
    """says of each row names with numbers, flags or text"""
    for of in _stages(measure):
        found = _said(measure, of)
        if len(found) != len(of.held_out):
            yield f"says something of {len(found)} of {len(of.held_out)} rows"
        for name, value in {name: value for one in found for name, value in one.items()}.items():
            if not isinstance(value, int | float | str):
                yield f"'{name}' is {type(value).__name__}, not a number, a flag or text"
            if name in ("row", "moment", "where", "prompt", "prompt_hash", "response"):
                yield f"'{name}' is there already; rename it"


def _keeps_rows_apart(measure: Measure) -> Iterator[str]:
    """says the same of a row alone, among others and again"""
    for of in _stages(measure):
        together = _said(measure, of)
        for way, found in (
            ("when it is asked again", _said(measure, of)),
            ("when it is built again", _said(type(measure).model_validate(dump_component(measure)), of)),
            ("alone", [_said(measure, of, [row])[0] for row in of.held_out]),
        ):
            for row, (one, other) in enumerate(zip(found, together, strict=True)):
                differing = [name for name in other if not _close(one.get(name), other[name])]
                if differing or one.keys() != other.keys():
                    names = ", ".join(differing or sorted(one.keys() ^ other.keys()))
                    yield f"says another thing of row {row} {way}: {names}"


def _close(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-3 * (1 + abs(other)) or (one != one and other != other)
    return one == other


def _is_summarised(measure: Measure) -> Iterator[str]:
    """makes numbers with standard errors of what it said, and no change of what did not change"""
    names = [value.name for value in measure.values]
    if len(set(names)) < len(names) or any(name.endswith("_se") for name in names):
        yield f"values must have different names that do not end with '_se', got {', '.join(names)}"
    for of in _stages(measure):
        records = [{"row": row, **one} for row, one in enumerate(_said(measure, of))]
        summary = measure.summarised(records)
        yield from (
            f"'{name}' is {type(value).__name__}, not a float"
            for name, value in summary.items()
            if not isinstance(value, float)
        )
        for name, value in measure.changes(records, records).items():
            if value != 0 and value == value and not name.endswith("_se"):
                yield f"'{name}' changed by {value:g} between equal evaluations"
        if not all(isinstance(note, str) for note in measure.notes(summary)):
            yield "notes() gives something that is no text"
        if measure.summarised([]) != {}:
            yield "gives numbers where nothing was measured"


CHECKS = (_says_something, _speaks_of_each_row, _keeps_rows_apart, _is_summarised)
