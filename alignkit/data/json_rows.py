"""Rows out of JSON text: strict where JSON is vague, so that what is read is what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alignkit.data.fields import Unusable
from alignkit.data.raw import RawRow
from alignkit.errors import DataError

_MOST_DEPTH = 100
"""Levels of lists and objects in each other; the deepest tool descriptions have some 20."""

_TOO_DEEP = f"lists and objects are nested deeper than {_MOST_DEPTH} levels"
_TOO_LONG = "an integer has more digits than Python reads (4,300)"


class _Doubled(dict[str, Any]):
    """An object that gave a key twice, with the last value, as parsers keep it."""

    key = ""


def json_row(index: int, where: str, line: bytes) -> RawRow:
    """A row from one line; what is wrong with it is noted in the row."""
    try:
        return _object_row(index, where, _loads(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        problem = ("not UTF-8", f"byte {error.start} of the line is {error.object[error.start]:#04x}")
    except json.JSONDecodeError as error:
        problem = ("broken JSON", f"{error.msg} at column {error.colno}")
    except Unusable as error:
        problem = (error.reason, error.detail)
    return RawRow(index, where, {}, problem)


def json_rows(path: Path, text: str) -> list[RawRow]:
    """The rows of a list of objects.

    Raises:
        DataError: it is none.
    """
    try:
        values = _loads(text)
    except json.JSONDecodeError as error:
        hint = "; one object a line is .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{path}:{error.lineno}: broken JSON: {error.msg} at column {error.colno}{hint}") from error
    except Unusable as error:
        raise DataError(f"{path}: {error}") from error
    if not isinstance(values, list):
        raise DataError(f"{path}: expected a list of rows, got {type(values).__name__}")
    return [_object_row(index, f"{path}:row {index + 1}", value) for index, value in enumerate(values)]


def parse_json(text: str, column: str) -> object:
    """JSON text that stands in a column.

    Raises:
        Unusable: it is no JSON, or not strictly.
    """
    try:
        value = _loads(text)
    except json.JSONDecodeError as error:
        raise Unusable("broken JSON", f"'{column}': {error.msg} at column {error.colno}") from error
    _refuse_faults({column: value})
    return value


def _loads(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise Unusable("broken JSON", _TOO_DEEP) from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise Unusable("broken JSON", _TOO_LONG) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    doubled = _Doubled(fields)
    keys = [key for key, _ in pairs]
    doubled.key = next(key for number, key in enumerate(keys) if key in keys[:number])
    return doubled


def _object_row(index: int, where: str, value: object) -> RawRow:
    if not isinstance(value, dict):
        return RawRow(index, where, {}, ("wrong type", f"expected an object with columns, got {type(value).__name__}"))
    try:
        _refuse_faults(value)
    except Unusable as error:
        return RawRow(index, where, {}, (error.reason, error.detail))
    return RawRow(index, where, value)


def _refuse_faults(fields: dict[str, Any]) -> None:
    """Stops at what a parser lets through and nothing later can use: keys given twice, halves of characters, depth."""
    if isinstance(fields, _Doubled):
        raise Unusable("key given twice", ascii(fields.key))
    for column, value in fields.items():
        _refuse_half(column, "the name of a column")
        place = f"'{column}'"
        rest: list[tuple[object, int]] = [(value, 2)]
        while rest:
            item, depth = rest.pop()
            if isinstance(item, str):
                _refuse_half(item, place)
            elif isinstance(item, dict | list):
                if depth > _MOST_DEPTH:
                    raise Unusable("broken JSON", f"{place}: {_TOO_DEEP}")
                if isinstance(item, _Doubled):
                    raise Unusable("key given twice", f"{place}: {item.key!a}")
                if isinstance(item, dict):
                    rest += ((key, depth) for key in item)
                rest += ((part, depth + 1) for part in (item.values() if isinstance(item, dict) else item))


def _refuse_half(text: str, place: str) -> None:
    """JSON can write half of a character of two parts (a lone surrogate), which no encoding can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise Unusable("not valid text", f"{place} holds {half}, half of a character, at {error.start}") from None
