"""Reads the rows of one local file; what is wrong with one row stays with that row."""

from __future__ import annotations

import csv
import io
import os
import re
import stat
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignkit.data import budget
from alignkit.data.json_rows import json_row, json_rows
from alignkit.data.raw import Columns, RawRow, first_line
from alignkit.errors import DataError, shown
from alignkit.lazy import parquet
from alignkit.registry import nearest_of

if TYPE_CHECKING:
    from pyarrow import RecordBatch

ENDINGS = (".jsonl", ".json", ".csv", ".parquet")
_ROWS_AT_ONCE = 1000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MESSAGES = re.compile(r"""\s*\[\s*\{\s*["'](?:role|content|from|value)["']\s*:""")


def read_file(path: Path, columns: Columns, limit: int | None) -> list[RawRow]:
    """The rows of a file, or its first `limit`.

    Args:
        path: names the file; its ending says what it holds.
        columns: those to read, where the others can be left alone (.parquet).
        limit: rows; None for all.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    readers: dict[str, Callable[[Path, Columns, int | None], Iterable[RawRow]]] = {
        ".jsonl": _read_jsonl,
        ".json": _read_json,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }
    ending = Path(path.name.removesuffix(".gz")).suffix
    try:
        require_file(path)
        if ending not in readers or path.name.endswith(".parquet.gz"):
            raise DataError(f"{path}: unknown file type; known: {', '.join(ENDINGS)}, and .gz of the first three")
        return list(islice(readers[ending](path, columns, limit), limit))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {first_line(error)}") from error


def require_file(path: Path) -> None:
    """Stops when there is no such file, or what is there is none.

    Raises:
        DataError: says what is there, or what may have been meant.
        OSError: the operating system will not look.
    """
    if not _can_be_name(path):
        raise DataError(f"{str(path)[:60]!r}: no file has this name: at most 255 bytes between slashes, and no NUL")
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name one file ({', '.join(ENDINGS)})")
    try:
        budget.refuse_irregular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(_missing(path)) from None


def _can_be_name(path: Path) -> bool:
    try:
        parts = [os.fsencode(part) for part in path.parts]
    except UnicodeEncodeError:
        return False
    return all(len(part) <= 255 and b"\0" not in part for part in parts)


def _missing(path: Path) -> str:
    if path.is_symlink():
        return f"{path}: is a link to {os.readlink(path)}, where nothing is"
    if not path.parent.is_dir():
        return f"{path}: no such file; the folder {path.parent} does not exist"
    near = get_close_matches(path.name, [other.name for other in path.parent.iterdir()], n=1)
    return f"{path}: no such file" + (f"; did you mean {path.parent / near[0]}?" if near else "")


def no_file(name: str) -> str | None:
    """What is wrong with `name` as the name of a file, in a recipe; None when there is one."""
    path = Path(name)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if not path.parent.is_dir():
            return f"no file {shown(name)}; the folder {shown(str(path.parent))} does not exist"
        alike = (other.name for other in path.parent.iterdir() if other.suffix == path.suffix)
        near = nearest_of(path.name, alike)
        return f"no file {shown(name)}" + (f"; did you mean {shown(str(path.parent / near))}?" if near else "")
    except OSError as error:
        return f"{shown(name)} cannot be read: {error.strerror}"
    except ValueError:
        return f"{shown(name)} cannot be the name of a file"
    if stat.S_ISREG(status.st_mode):
        return None
    kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
    return f"{shown(name)} is {kind}, not a file"


# --- readers, one per file type ---


def _read_jsonl(path: Path, columns: Columns, limit: int | None) -> Iterator[RawRow]:
    """One object a line. Blank lines are no rows; a line that cannot be read is a bad row, not the end."""
    index = 0
    with budget.open_within(path, budget.MOST_BYTES) as file:
        for number, line in enumerate(_lines(file), start=1):
            where = f"{path}:{number}"
            if line is None:
                yield RawRow(index, where, {}, ("too large", f"a line of more than {budget.MOST_BYTES_LINE:,} bytes"))
            elif line.strip():
                yield json_row(index, where, line)
            else:
                continue
            index += 1


def _lines(file: io.BufferedReader) -> Iterator[bytes | None]:
    """The lines, and None in place of one that is too long to be held."""
    if file.peek(3).startswith(_BYTE_ORDER_MARK):
        file.read(3)
    while line := file.readline(budget.MOST_BYTES_LINE + 1):
        is_whole = len(line) <= budget.MOST_BYTES_LINE
        rest = line
        while len(rest) > budget.MOST_BYTES_LINE and not rest.endswith(b"\n"):
            rest = file.readline(budget.MOST_BYTES_LINE + 1)
        yield line.removesuffix(b"\n") if is_whole else None


def _read_json(path: Path, columns: Columns, limit: int | None) -> list[RawRow]:
    with budget.open_within(path, budget.MOST_BYTES_WHOLE) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_text(path, error.start, error.object[error.start]) from error
    return json_rows(path, text)


def _read_csv(path: Path, columns: Columns, limit: int | None) -> Iterator[RawRow]:
    """Every value stays text, so that a response of digits is one; the standard reader, because it places errors."""
    csv.field_size_limit(budget.MOST_BYTES_LINE)  # the default refuses texts of 128 KiB
    index = -1
    with budget.open_within(path, budget.MOST_BYTES) as file:
        reader = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
        try:
            _refuse_doubled(path, [name for name in reader.fieldnames or () if name])
            for index, fields in enumerate(reader):
                yield _csv_row(index, f"{path}:row {index + 1}", fields, columns)
        except csv.Error as error:
            raise DataError(f"{path}:row {index + 2}: broken CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise _not_text(path, *_bad_byte(path)) from error


def _csv_row(index: int, where: str, fields: dict[str | Any, str | Any], columns: Columns) -> RawRow:
    extra = fields.pop(None, None)
    if extra is not None:
        problem = ("broken CSV", f"{len(extra)} more values than columns; is a comma or quote not quoted?")
        return RawRow(index, where, {}, problem)
    for name, value in fields.items():
        # Read as text, a list of messages that was written into a table would be what the user says.
        if (columns is None or name in columns) and value is not None and _MESSAGES.match(value):
            problem = (
                "messages as text",
                f"column '{name}': a CSV holds text alone; give messages as .jsonl or .parquet",
            )
            return RawRow(index, where, {}, problem)
    return RawRow(index, where, fields)


def _not_text(path: Path, place: int, byte: int) -> DataError:
    return DataError(f"{path}: is not UTF-8 text: byte {place} is {byte:#04x}")


def _bad_byte(path: Path) -> tuple[int, int]:
    """Place and value of the first byte that is not UTF-8 text."""
    place = 0
    with budget.open_within(path, budget.MOST_BYTES) as file:
        for line in file:
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return place + error.start, line[error.start]
            place += len(line)
    raise AssertionError("asked only when a byte is no text")


def _read_parquet(path: Path, columns: Columns, limit: int | None) -> Iterator[RawRow]:
    """The columns asked for: another may hold what Python has no value for, a date beyond the year 9999 say."""
    index, size = 0, 0
    try:
        with parquet.ParquetFile(path) as file:  # type: ignore[no-untyped-call]
            names = file.schema_arrow.names
            _refuse_doubled(path, names)
            read = [name for name in names if columns is None or name in columns]
            others = tuple(name for name in names if name not in read)
            for batch in file.iter_batches(min(limit or _ROWS_AT_ONCE, _ROWS_AT_ONCE), columns=read):
                size += batch.nbytes
                if size > budget.MOST_BYTES:
                    raise DataError(f"{path}: holds more than {budget.MOST_BYTES:,} bytes; split it")
                for fields, unread in _values(batch):
                    yield RawRow(index, f"{path}:row {index + 1}", fields, unread, others=others)
                    index += 1
    except DataError:
        raise
    except Exception as error:  # a damaged file brings out every kind of error that pyarrow has, MemoryError included
        raise DataError(f"{path}: is not a parquet file, or is damaged") from error


def _values(batch: RecordBatch) -> Iterator[tuple[dict[str, object], tuple[str, str] | None]]:
    """The rows of a batch as Python values, each with (reason, detail) when it has none."""
    try:
        yield from ((fields, None) for fields in batch.to_pylist())
        return
    except (ValueError, OverflowError):  # text that is not UTF-8, a date beyond the calendar: in which row?
        pass
    for number in range(batch.num_rows):
        fields: dict[str, object] = {}
        unread = None
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                fields[name] = column[number].as_py()
            except (ValueError, OverflowError) as error:
                unread = ("unreadable value", f"'{name}': {first_line(error)}")
        yield ({}, unread) if unread else (fields, None)


def _refuse_doubled(path: Path, names: Iterable[str]) -> None:
    """Of two columns with one name a reader keeps the last, without a word."""
    doubled = [name for name, number in Counter(names).items() if number > 1]
    if doubled:
        raise DataError(f"{path}: two columns are named '{doubled[0]}'; rename or remove one")
