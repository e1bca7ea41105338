"""Files that are whole or absent, whatever kills the process in between, and records of a known form."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from alignkit.errors import AlignkitError, RunFolderError, StorageError

MAX_RECORD_BYTES = 16 * 2**20
"""Longest record that is read; ours have some kilobytes."""

_MISTAKES = frozenset({errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EISDIR})
"""What a mistyped path gives; everything else is the machine's fault."""


class Record(BaseModel):
    """Content of a small JSON file of ours: typed without coercion; keys that a later version adds are kept."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, extra="allow")


R = TypeVar("R", bound=Record)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, and durably: temporary name, fsync, rename, fsync of the folder.

    Raises:
        RunFolderError: the disk is full, read-only or gone; the old file, if any, is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # runs may write the same shared file at once
    with one_line(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            discard(temporary)  # half a file takes room from a disk that has none
            raise
        sync(path.parent)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes strict, indented JSON as `write_text` does."""
    write_text(path, json_text(value))


def json_text(value: Mapping[str, Any]) -> str:
    """Strict, indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_record(path: Path, kind: type[R]) -> R:
    """What a JSON file of ours holds.

    Raises:
        RunFolderError: there is none, it is damaged, or a value is not what it must be; in one line.
    """
    try:
        if not path.is_file() or path.stat().st_size > MAX_RECORD_BYTES:
            raise RunFolderError(f"{path}: is missing, or no file of at most {MAX_RECORD_BYTES} bytes; {_ADVICE}")
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid" or not first["loc"]:
            raise RunFolderError(f"{path}: cannot be read as a JSON object; {_ADVICE}") from None
        where = ".".join(map(str, first["loc"]))
        raise RunFolderError(f"{path}: '{where[:80]}': {first['msg']}; {_ADVICE}") from None
    except AlignkitError:
        raise
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror}") from None


_ADVICE = "restore it or start a new run elsewhere"


def read_lines(path: Path) -> list[Any]:
    """What a file holds with a JSON value on each line.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    lines = path.read_text(encoding="utf-8").split("\n")  # other ends of lines may stand in a text
    return [json.loads(line) for line in lines if line]


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Gives a name beside `target` for a folder to be made under; it becomes `target` when all went well.

    Raises:
        RunFolderError: the disk is full, read-only or gone; an older `target` is untouched.
    """
    staging = target.with_name(f".{target.name}.tmp")
    try:
        with one_line(target):
            clear(staging)
            yield staging
    except BaseException:
        discard(staging)
        raise
    publish(staging, target)


def publish(staging: Path, target: Path) -> None:
    """Gives a folder its name when everything in it is durable; an older one of that name goes when it does.

    Raises:
        RunFolderError: the disk is full, read-only or gone; `staging` is removed, an older `target` is untouched.
    """
    aside = target.with_name(f".{target.name}.old")
    with one_line(target):
        try:
            _sync_tree(staging)
            if os.path.lexists(target):
                clear(aside)
                os.replace(target, aside)
            os.replace(staging, target)
        except OSError:
            discard(staging)
            raise
        sync(target.parent)
        clear(aside)


def clear(path: Path) -> None:
    """Removes a file, a link or a folder; nothing happens when there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Clears as far as that is possible; for what is of no use any more, while an error is on its way."""
    with suppress(OSError):
        clear(path)


def sync(path: Path) -> None:
    """Makes a file's content, or a folder's list of names, durable."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no such call for folders
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Turns what the operating system says about writing `path` into one line.

    Raises:
        StorageError: the machine fails: a full, read-only or broken disk, no permission.
        RunFolderError: there can be no such path.
    """
    try:
        yield
    except AlignkitError:  # some of ours are an OSError as well
        raise
    except OSError as error:
        raise _in_words(path, error.errno or 0, error.strerror or str(error)) from None
    except Exception as error:
        # safetensors and tokenizers wrap what the system said in an exception of their own.
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        raise _in_words(path, int(found[1]), os.strerror(int(found[1]))) from None


def _in_words(path: Path, number: int, reason: str) -> RunFolderError:
    kind = RunFolderError if number in _MISTAKES else StorageError
    return kind(f"{path}: cannot be written: {reason}")
