"""Recipe files by name: beside another file, or NAME:PATH in a library, such as `alignkit:base/world.yaml`."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from alignkit.errors import LibraryError, printable, shown
from alignkit.libraries.content import RECIPES
from alignkit.libraries.known import Libraries
from alignkit.recipe.header import SWEEP_KEY
from alignkit.recipe.yaml import MAX_BYTES
from alignkit.registry import nearest_of

_NAMED: Final = re.compile(r"([A-Za-z][\w-]+):(.*)", re.DOTALL | re.ASCII)
"""NAME:PATH; one letter is a drive of Windows."""

_SWEEP: Final = re.compile(rb"^%b[ \t]*:" % SWEEP_KEY.encode(), re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A recipe file.

    Attributes:
        name: what messages call it: the file as the user named it, or NAME:PATH.
        path: where it lies; nowhere when the library cannot be used.
        libraries: those that can be named.
        library: the one that it is of; empty for a file of the user's.
        complaint: why the library cannot be used; empty when it can.
    """

    name: str
    path: Path
    libraries: Libraries = field(repr=False, compare=False)
    library: str = ""
    complaint: str = ""

    def beside(self, given: str) -> Source:
        """The file that this one calls `given`."""
        other = _library_of(given, self.libraries)
        if other:
            refused = self.library and self.libraries.may_extend(self.library, other)
            return Source(given, Path(), self.libraries, other, refused) if refused else source(given, self.libraries)
        if not self.library:
            path = Path(os.path.normpath(self.path.parent / given))
            return Source(str(path), path, self.libraries)
        inner = self.name.partition(":")[2]
        return _in(self.library, posixpath.normpath(posixpath.join(posixpath.dirname(inner), given)), self.libraries)


def source(given: str, libraries: Libraries) -> Source:
    """The file that a user calls `given`; whether it is there is another question."""
    library = _library_of(given, libraries)
    return _in(library, given.partition(":")[2], libraries) if library else Source(given, Path(given), libraries)


def no_source(source: Source, given: str) -> str | None:
    """One line about what cannot be a recipe of a library, or is none; None when it is one, or no library was named."""
    if not source.library:
        return None
    if source.complaint:
        return f"{shown(given)}: {source.complaint}"
    inner = PurePosixPath(source.name.partition(":")[2])
    if inner.is_absolute() or ".." in inner.parts:
        return f"{shown(given)}: a recipe of {source.library} is named by its path below their folder, without '..'"
    if os.path.isfile(source.path):  # `Path.is_file` fails for a name that is too long
        return None
    names = sorted(recipe_files(source.library, source.libraries))
    known = {name.with_suffix("").as_posix(): name.as_posix() for name in names}
    wanted = str(inner).removesuffix(inner.suffix)
    near = nearest_of(wanted, known)
    hint = f"; did you mean {shown(f'{source.library}:{known[near]}')}?" if near else ";"
    return f"no recipe {shown(given)}{hint} {source.library} brings {_listed(names)}"


def no_library(given: str, libraries: Libraries) -> str:
    """What to say besides of a missing file whose name looks like NAME:PATH; empty for others."""
    named = _NAMED.fullmatch(given)
    if not named or named[2].startswith(("/", "\\")):
        return ""
    if near := nearest_of(named[1], libraries.names):
        return f"; did you mean {shown(f'{near}:{named[2]}')}?"
    return f"; there is no library {shown(named[1])}, only {', '.join(libraries.names)}"


def recipe_files(library: str, libraries: Libraries) -> Iterator[Path]:
    """The recipes of a library, relative to its folder; no link is followed.

    Raises:
        LibraryError: it cannot be used.
    """
    folder = libraries.folder(library)
    yield from (path for path in _files(folder) if not is_sweep(folder / path))


def sweep_files(library: str, libraries: Libraries) -> Iterator[Path]:
    """The sweeps of a library, as its recipes.

    Raises:
        LibraryError: it cannot be used.
    """
    folder = libraries.folder(library)
    yield from (path for path in _files(folder) if is_sweep(folder / path))


def is_sweep(path: Path) -> bool:
    """Whether a file has the key that makes it a sweep, as a line of its own; where it cannot be read, it is none."""
    try:
        with path.open("rb") as file:
            return _SWEEP.search(file.read(MAX_BYTES)) is not None
    except OSError:
        return False


def _files(folder: Path) -> Iterator[Path]:
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(top, name).relative_to(folder) for name in sorted(files) if name.endswith(RECIPES))


def recipe_names(library: str, libraries: Libraries) -> list[str]:
    """What the recipes of a library are called, NAME:PATH; none where it cannot be used."""
    try:
        return [f"{library}:{path.as_posix()}" for path in recipe_files(library, libraries)]
    except LibraryError:
        return []


def _library_of(given: str, libraries: Libraries) -> str:
    named = _NAMED.fullmatch(given)
    return named[1] if named and named[1] in libraries.names else ""


def _in(library: str, given: str, libraries: Libraries) -> Source:
    inner = given.replace("\\", "/")  # Windows has made them of ours
    if inner and ".." not in inner.split("/"):
        inner = posixpath.normpath(inner)
    if not inner.endswith(RECIPES):
        inner += RECIPES[0]
    name = f"{library}:{inner}"
    try:
        return Source(name, libraries.folder(library) / inner, libraries, library)
    except LibraryError as error:
        return Source(name, Path(), libraries, library, str(error))


def _listed(names: list[Path]) -> str:
    """`dpo, tidpo; base/: hub, world`."""
    folders: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (name.parent.as_posix(), name.stem)):
        folders.setdefault(name.parent.as_posix(), []).append(name.stem)
    parts = [(f"{folder}/: " if folder != "." else "") + ", ".join(stems) for folder, stems in folders.items()]
    return printable("; ".join(parts), 1500)
