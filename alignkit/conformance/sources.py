"""What sources promise. They are read for real: give those parameters that name something small."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from alignkit.data.raw import Columns, RawRow
from alignkit.data.sources.base import Part, Source
from alignkit.registry import dump_component

MOST_ROWS = 200


def _read(source: Source, part: Part = "train", limit: int | None = MOST_ROWS, columns: Columns = None) -> list[RawRow]:
    return list(islice(source.read(part, 0, limit, columns), MOST_ROWS))


def _is_there(source: Source) -> Iterator[str]:
    """says what it is called, and names nothing that is missing"""
    if not (source.label and source.label.isprintable()):
        yield f"'label' must be one line of text, got {source.label!r}"
    for said in (source.missing(), source.elsewhere()):
        if not isinstance(said, str | None):
            yield f"missing() and elsewhere() say text or None, got {said!r}"
    if missing := source.missing():
        yield f"{missing}; give parameters that name something that is here"


def _numbers_its_rows(source: Source) -> Iterator[str]:
    """gives rows, numbered from 0, each with its place and its columns"""
    rows = _read(source)
    if not rows:
        yield "gives no row"
    if [row.index for row in rows] != list(range(len(rows))):
        yield f"its first rows are numbered {', '.join(str(row.index) for row in rows[:5])}; expected 0, 1, 2, ..."
    if len({row.where for row in rows}) < len(rows) or not all(row.where.isprintable() for row in rows):
        yield "'where' must tell rows apart and be one line each"
    if not all(isinstance(name, str) for row in rows for name in row.fields):
        yield "names of columns must be text"
    if rows and not any(row.fields for row in rows):
        yield "no row has a column"


def _gives_them_again(source: Source) -> Iterator[str]:
    """gives the same rows each time, and when it is built again"""
    first = _read(source)
    for way, other in (("asked again", source), ("built again", type(source).model_validate(dump_component(source)))):
        if changed := [a.where for a, b in zip(first, _read(other), strict=False) if a != b]:
            yield f"gives other rows when it is {way}, the first at {changed[0]}; runs could not be resumed"


def _obeys_limit_and_columns(source: Source) -> Iterator[str]:
    """gives the same first rows with a limit, and the same values of fewer columns"""
    rows = _read(source)
    some = _read(source, limit=2)
    if len(some) < min(2, len(rows)) or [row.fields for row in some[:2]] != [row.fields for row in rows[:2]]:
        yield "with a limit of 2 its first two rows are others"
    names = sorted({name for row in rows for name in row.fields})[:1]
    for row, whole in zip(_read(source, columns=names), rows, strict=False):
        if {name: row.fields.get(name) for name in names} != {name: whole.fields.get(name) for name in names}:
            yield f"{row.where}: column '{names[0]}' has another value when it is asked for alone"


def _plants_what_it_says(source: Source) -> Iterator[str]:
    """plants words where it says so, inside its texts"""
    rows = _read(source)
    if source.plants and not any(row.critical for row in rows):
        yield "'plants' is true, but no row says which characters are planted"
    for row in rows:
        for name, spans in row.critical.items():
            text = row.fields.get(name)
            if not isinstance(text, str) or not all(0 <= first < last <= len(text) for first, last in spans):
                yield f"{row.where}: planted characters of '{name}' lie outside its text"


def _has_held_out_rows(source: Source) -> Iterator[str]:
    """gives held-out rows of its own where it says so"""
    if source.has_own_eval:
        held = _read(source, "eval")
        if not held or [row.fields for row in held] == [row.fields for row in _read(source)]:
            yield "'has_own_eval' is true, but its held-out rows are none or those that are trained on"
    if source.has_own_eval and source.is_same(source):
        yield "'has_own_eval' is true, and is_same() takes its held-out rows for those that are trained on"


CHECKS = (
    *(_is_there, _numbers_its_rows, _gives_them_again, _obeys_limit_and_columns, _plants_what_it_says),
    _has_held_out_rows,
)
