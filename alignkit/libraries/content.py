"""The files of a library: which may be in one, how many, how large; and the hash by which a lock knows them.

A library is data. Only the endings below are copied, nothing in them is imported or executed, and a symbolic link or a
path that leads out of the folder is refused before a byte of it is read.
"""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import Field

from alignkit.errors import LibraryError, printable, shown
from alignkit.libraries.config import Declared, check_declared
from alignkit.libraries.tables import Table, parse_table

DESCRIPTION: Final = "library.toml"
SIGNATURE: Final = "library.sig"
ENDINGS: Final = (".yaml", ".yml", ".toml", ".md", ".jsonl")
RECIPES: Final = (".yaml", ".yml")
MAX_FILES: Final = 2000
MAX_BYTES: Final = 1024 * 1024
"""Of one file."""
MAX_TOTAL: Final = 64 * 1024 * 1024
"""Of all files together, as every command that uses a library reads them to verify it."""
MAX_PATH: Final = 200
"""Characters of a path inside a library."""
SCHEMA: Final = 1
"""Of library.toml."""

Content = Mapping[str, bytes]
"""Path inside the library, with `/` -> bytes."""

_LFS: Final = b"version https://git-lfs.github.com/spec/"


class Description(Table):
    """library.toml: what a library says of itself."""

    name: str
    """As recipes name it, and as alignkit.toml must."""

    version: str = Field(max_length=64)
    """Of all its files together."""

    schema_: int = Field(alias="schema")
    licence: str = ""
    maintainers: list[str] = Field(default_factory=list)
    plugins: list[str] = Field(default_factory=list)
    """Packages that its recipes need, such as `acme-weights>=1.2`; told, never installed."""

    libraries: dict[str, Declared] = Field(default_factory=dict)
    """Other libraries that its recipes may extend, as alignkit.toml would declare them."""


def describe(content: Content, where: str) -> Description:
    """library.toml of a library.

    Raises:
        LibraryError: there is none, or it cannot be used.
    """
    if DESCRIPTION not in content:
        raise LibraryError(
            f'{where}: holds no {DESCRIPTION}; a library has one with name = "...", version = "...", schema = {SCHEMA}'
        )
    inner = f"{where}/{DESCRIPTION}"
    found = parse_table(content[DESCRIPTION], inner, Description)
    if found.schema_ != SCHEMA:
        advice = "install a newer alignkit" if found.schema_ > SCHEMA else f"write schema = {SCHEMA}"
        raise LibraryError(f"{inner}: schema: {shown(found.schema_)}, this alignkit reads {SCHEMA}; {advice}")
    check_declared(found.libraries, inner)
    for name, declared in found.libraries.items():
        if declared.kind == "path":
            raise LibraryError(
                f"{inner}: libraries.{name}: a folder of one machine, {shown(declared.source)}; give a git, hf or pip "
                "source, or let alignkit.toml declare it"
            )
    return found


def is_wanted(path: str) -> bool:
    """Whether a file of this path belongs to a library; others are left where they are."""
    return path == SIGNATURE or (path.endswith(ENDINGS) and not is_hidden(path))


def is_hidden(path: str) -> bool:
    """Whether a file, or a folder on the way to it, is none of a library's business, such as `.github`."""
    return any(part.startswith(".") for part in path.split("/"))


def check_path(path: str, where: str) -> None:
    """Refuses a path that a copy could not have, or that leads out of it.

    Raises:
        LibraryError: names it.
    """
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or "\\" in path or ":" in path:
        raise LibraryError(f"{where}: {shown(path)} would lie outside of the library")
    if not path.isprintable() or len(path) > MAX_PATH:
        raise LibraryError(f"{where}: {shown(path)} is no path of a library: at most {MAX_PATH} plain characters")


def check_size(path: str, size: int, where: str) -> None:
    """Refuses a file that is too large."""
    if size > MAX_BYTES:
        raise LibraryError(f"{where}: {shown(path)} has {size:,} bytes; a file of a library has at most {MAX_BYTES:,}")


def check_room(count: int, size: int, where: str) -> None:
    """Refuses too many files, or too much in them together."""
    if count > MAX_FILES:
        raise LibraryError(f"{where}: more than {MAX_FILES:,} files; a library has at most that many")
    if size > MAX_TOTAL:
        raise LibraryError(f"{where}: more than {MAX_TOTAL:,} bytes together; a library has at most that many")


def refuse_link(path: str, where: str) -> LibraryError:
    """What is said of a symbolic link."""
    return LibraryError(f"{where}: {shown(path)} is a symbolic link; a library holds plain files only")


def check_pointers(content: Content, where: str) -> None:
    """Refuses files of which only a pointer of Git LFS is there."""
    for path, text in content.items():
        if text.startswith(_LFS):
            raise LibraryError(f"{where}: {shown(path)} is a pointer of Git LFS, not the file; commit the file itself")


def check_names(content: Content, where: str) -> None:
    """Refuses names that are one file or folder on machines where case, or how an accent is written, does not count."""
    seen: dict[str, str] = {}
    for path in sorted(content):
        for name in (path, *map(str, PurePosixPath(path).parents)):
            first = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
            if first != name:
                raise LibraryError(
                    f"{where}: {shown(first)} and {shown(name)} are one file where case does not count; rename one"
                )


def read_folder(folder: Path, where: str) -> dict[str, bytes]:
    """The files of a library in a folder; no link is followed.

    Raises:
        LibraryError: it is no folder, or holds what a library may not.
    """
    if not folder.is_dir():
        raise LibraryError(f"{where}: there is no folder {shown(str(folder))}")
    content: dict[str, bytes] = {}
    size = 0
    for path in _walk(folder, where):
        inner = path.relative_to(folder).as_posix()
        if not is_wanted(inner):
            continue
        check_path(inner, where)
        content[inner] = _plain_file(path, inner, where)
        size += len(content[inner])
        check_room(len(content), size, where)
    return content


def _walk(folder: Path, where: str) -> Iterable[Path]:
    """All files below a folder, hidden folders apart, sorted."""
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in (*folders, *sorted(files)):
            if not name.startswith(".") and os.path.islink(os.path.join(top, name)):
                raise refuse_link(Path(top, name).relative_to(folder).as_posix(), where)
        yield from (Path(top, name) for name in sorted(files))


def _plain_file(path: Path, inner: str, where: str) -> bytes:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise LibraryError(f"{where}: {shown(inner)} is a pipe, a socket or a device, not a file")
        check_size(inner, status.st_size, where)
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        if isinstance(error, LibraryError):
            raise
        raise LibraryError(f"{where}: {shown(inner)} cannot be read: {error.strerror}") from None


def hashes_of(content: Content) -> dict[str, str]:
    """Path -> sha256 of its bytes, sorted."""
    return {path: hashlib.sha256(content[path]).hexdigest() for path in sorted(content)}


def tree_of(hashes: Mapping[str, str]) -> str:
    """The hash of a whole library, of paths and bytes: `sha256:` and 64 hex digits."""
    lines = "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def changed_file(expected: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """In words, the first file that is not as it was; None when all are."""
    for path in sorted({*expected, *found}):
        if path not in found:
            return f"{printable(path)} is missing"
        if path not in expected:
            return f"{printable(path)} was added"
        if expected[path] != found[path]:
            return f"{printable(path)} was edited"
    return None
