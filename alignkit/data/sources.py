"""Reads the rows of a file, a Hub data set or the built-in world, each with its place for messages."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from alignkit import world
from alignkit.data.config import DataConfig
from alignkit.errors import DataError
from alignkit.lazy import datasets, parquet
from alignkit.world.config import WorldConfig

WORLD = "builtin:world"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_ENDINGS = (".jsonl", ".json", ".csv", ".parquet")

Spans = Mapping[str, list[tuple[int, int]]]
"""Response name -> (start, end) characters."""


@dataclass(frozen=True)
class RawRow:
    """One row as it was read.

    Attributes:
        index: number of the row in its source, from 0.
        where: `file:line`, `file:row N` or `id:row N`, N from 1.
        fields: its columns; empty when it could not be read.
        unread: (reason, detail) when it could not be read.
        critical: characters of the planted critical words; on the built-in world only.
    """

    index: int
    where: str
    fields: Mapping[str, object]
    unread: tuple[str, str] | None = None
    critical: Spans = field(default_factory=dict)


def read_source(config: DataConfig, part: Literal["train", "eval"], seed: int) -> list[RawRow]:
    """All rows of `data.train` or `data.eval`; the first `max_rows` of the former.

    Raises:
        DataError: the source does not exist or cannot be read, or an option does not belong to it.
    """
    name = config.train if part == "train" or config.eval is None else config.eval
    limit = config.max_rows if part == "train" else None
    if name.startswith("builtin:"):
        rows = _read_world(name, config.world or WorldConfig(), part, seed)
    elif is_file(name):
        rows = _read_file(Path(name))
    else:
        split = config.split or "train" if part == "train" else config.eval_split or "test"
        rows = _read_hub(name, config.subset, split, limit)
    rows = rows[:limit]
    if not rows:
        raise DataError(f"data.{part}: {name} holds no rows")
    return rows


def refuse_misplaced(config: DataConfig) -> None:
    """Stops when an option is given that the named sources have no use for.

    Raises:
        DataError: names the option, its value and where it belongs.
    """
    names = [config.train] if config.eval is None else [config.train, config.eval]
    given = ", ".join(dict.fromkeys(names))
    on_hub = {name: not name.startswith("builtin:") and not is_file(name) for name in names}
    misplaced = {
        "split": not on_hub[config.train] and "a Hub data set in data.train",
        "eval_split": not on_hub.get(config.eval or "") and "a Hub data set in data.eval",
        "subset": not any(on_hub.values()) and "a Hub data set",
        "world": WORLD not in names and WORLD,
        "holdout": (config.eval is not None and "runs without data.eval")
        or (config.train == WORLD and "files and Hub data sets; set data.world.eval_pairs instead"),
    }
    for option, owner in misplaced.items():
        value = getattr(config, option)
        if owner and value is not None:
            shown = "given, but" if option == "world" else repr(value)
            undo = f"; set data.{option}: null where it is inherited" if option == "world" else ""
            raise DataError(f"data.{option}: {shown} belongs to {owner}; the data is {given}{undo}")


def is_file(name: str) -> bool:
    """Whether `name` means a file: it exists, or looks like a path rather than a Hub id."""
    looks_like_file = name.removesuffix(".gz").endswith(_ENDINGS) or not _HUB_ID.fullmatch(name)
    return looks_like_file or name.startswith((".", "/")) or Path(name).exists()


def _read_file(path: Path) -> list[RawRow]:
    if not path.exists():
        raise DataError(_missing(path))
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name one file ({', '.join(_ENDINGS)})")
    readers: dict[str, Callable[[Path], list[RawRow]]] = {
        ".jsonl": _read_jsonl,
        ".json": _read_json,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }
    ending = Path(path.name.removesuffix(".gz")).suffix
    if ending not in readers or path.name.endswith(".parquet.gz"):
        raise DataError(f"{path}: unknown file type; known: {', '.join(_ENDINGS)}, and .gz of the first three")
    try:
        return readers[ending](path)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {_first_line(error)}") from error


def _missing(path: Path) -> str:
    if not path.parent.is_dir():
        return f"{path}: no such file; the folder {path.parent} does not exist"
    near = get_close_matches(path.name, [other.name for other in path.parent.iterdir()], n=1)
    return f"{path}: no such file" + (f"; did you mean {path.parent / near[0]}?" if near else "")


def _read_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def _read_text(path: Path) -> str:
    try:
        return _read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from error


def _read_jsonl(path: Path) -> list[RawRow]:
    """One object a line. Blank lines are no rows; a line that cannot be read is a bad row, not the end."""
    rows: list[RawRow] = []
    for number, line in enumerate(_read_bytes(path).removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            rows.append(_json_row(len(rows), f"{path}:{number}", line))
    return rows


def _json_row(index: int, where: str, line: bytes) -> RawRow:
    try:
        return _object_row(index, where, json.loads(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        problem = ("not UTF-8", f"byte {error.start} of the line is {error.object[error.start]:#04x}")
    except json.JSONDecodeError as error:
        problem = ("broken JSON", f"{error.msg} at column {error.colno}")
    return RawRow(index, where, {}, problem)


def _object_row(index: int, where: str, value: object) -> RawRow:
    if isinstance(value, dict):
        return RawRow(index, where, value)
    return RawRow(index, where, {}, ("wrong type", f"expected an object with columns, got {type(value).__name__}"))


def _read_json(path: Path) -> list[RawRow]:
    try:
        values = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        hint = "; one object a line is .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{path}:{error.lineno}: broken JSON: {error.msg} at column {error.colno}{hint}") from error
    if not isinstance(values, list):
        raise DataError(f"{path}: expected a list of rows, got {type(values).__name__}")
    return [_object_row(index, f"{path}:row {index + 1}", value) for index, value in enumerate(values)]


def _read_csv(path: Path) -> list[RawRow]:
    """Every value stays text, so that a response of digits is one; the standard reader, because it places errors."""
    text = _read_text(path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # the default refuses texts of 128 KiB
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[RawRow] = []
    try:
        for fields in reader:
            rows.append(_csv_row(len(rows), f"{path}:row {len(rows) + 1}", fields))
    except csv.Error as error:
        raise DataError(f"{path}:row {len(rows) + 1}: broken CSV: {error}") from error
    return rows


def _csv_row(index: int, where: str, fields: dict[str | Any, str | Any]) -> RawRow:
    extra = fields.pop(None, None)
    if extra is not None:
        problem = ("broken CSV", f"{len(extra)} more values than columns; is a comma or quote not quoted?")
        return RawRow(index, where, {}, problem)
    return RawRow(index, where, fields)


def _read_parquet(path: Path) -> list[RawRow]:
    try:
        values = parquet.read_table(path).to_pylist()  # type: ignore[no-untyped-call]
    except ValueError as error:  # ArrowInvalid
        raise DataError(f"{path}: is not a parquet file, or is damaged") from error
    return _numbered(str(path), values)


def _read_hub(name: str, subset: str | None, split: str, limit: int | None) -> list[RawRow]:
    label = f"Hub data set '{name}', subset {subset or 'none'}, split {split}"
    try:
        table = datasets.load_dataset(name, subset, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{label}: {_first_line(error)}; check the id, the network, or give a local file in its place"
        ) from error
    if limit is not None:
        table = table.select(range(min(limit, len(table))))
    return _numbered(name, table.to_list())


def _numbered(name: str, values: Iterable[dict[str, object]]) -> list[RawRow]:
    return [RawRow(index, f"{name}:row {index + 1}", value) for index, value in enumerate(values)]


def _read_world(name: str, config: WorldConfig, part: Literal["train", "eval"], seed: int) -> list[RawRow]:
    if name != WORLD:
        raise DataError(f"unknown data '{name}'; known: {WORLD}")
    rows = world.generate(config, part, seed)
    return [
        RawRow(index, f"{name}:{part} row {index + 1}", _world_fields(row), critical=row.critical)
        for index, row in enumerate(rows)
    ]


def _world_fields(row: world.WorldRow) -> dict[str, object]:
    """The columns of a world row; a response's score is its true reward."""
    texts = {"chosen": row.chosen, "rejected": row.rejected}
    scores = {f"score_{name}": world.reward(row.prompt, text) for name, text in texts.items()}
    return {"prompt": row.prompt, **texts, "gold": row.gold, **scores}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
