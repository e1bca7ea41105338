"""TOML files of ours: read within bounds, typed, each mistake one line; and the few lines that are written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from alignkit.errors import LibraryError, printable, shown
from alignkit.registry import suggestion

MAX_BYTES: Final = 1024 * 1024


class Table(BaseModel):
    """A table of a TOML file: typed without coercion, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=True)


T = TypeVar("T", bound=Table)


def read_table(path: Path, kind: type[T]) -> T:
    """What a TOML file holds.

    Raises:
        LibraryError: it is missing, too large or no TOML, or a value is not what it must be.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise LibraryError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_table(content, str(path), kind)


def parse_table(content: bytes, where: str, kind: type[T]) -> T:
    """The same of bytes; `where` is what messages call them."""
    if len(content) > MAX_BYTES:
        raise LibraryError(f"{printable(where)}: larger than {MAX_BYTES // 1024} KiB")
    try:
        values = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error) or "nested too deeply"
        raise LibraryError(f"{printable(where)}: not valid TOML: {printable(reason)}") from None
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise LibraryError(f"{printable(where)}: {_first(error, kind)}") from None


def _first(error: ValidationError, kind: type[Table]) -> str:
    """The first thing that pydantic found, in our words."""
    one = error.errors(include_url=False)[0]
    where = printable(".".join(map(str, one["loc"])))
    if one["type"] == "missing":
        return f"{where}: missing"
    if one["type"] == "extra_forbidden":
        return f"{where}: unknown key; {suggestion(str(one['loc'][-1]), _keys(kind, one['loc'][:-1]), 'known keys')}"
    if one["type"] == "value_error":
        return f"{where}: {one['ctx']['error']}"
    return f"{where}: {printable(one['msg'][:1].lower() + one['msg'][1:])}, got {shown(one['input'], 60)}"


def _keys(kind: type[Table], path: tuple[int | str, ...]) -> list[str]:
    """The keys that a table has; inside a mapping of tables, those of each."""
    for step in path:
        field = kind.model_fields.get(str(step))
        found = field and next((one for one in _tables(field.annotation)), None)
        kind = found or kind
    return sorted(field.alias or key for key, field in kind.model_fields.items())


def _tables(annotation: Any) -> list[type[Table]]:  # noqa: ANN401 -- any annotation
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return [annotation]
    return [found for argument in getattr(annotation, "__args__", ()) for found in _tables(argument)]


def rendered(values: Mapping[str, Any]) -> str:
    """Plain values as lines `key = value`: texts, whole numbers, lists of texts."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:  # noqa: ANN401 -- text, number or list
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
