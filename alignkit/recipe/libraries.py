"""Recipes that come with an installed package, named from anywhere: `alignkit:base/world.yaml`."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from alignkit.errors import printable, shown
from alignkit.registry import nearest_of

_NAMED: Final = re.compile(r"([A-Za-z][\w.-]+):(.*)", re.DOTALL | re.ASCII)
"""NAME:PATH; one letter is a drive of Windows."""

_ENDINGS: Final = (".yaml", ".yml")


def libraries() -> Mapping[str, Path]:
    """Name of each package that brings recipes -> their folder."""
    package = Path(__file__).parents[1]
    shipped = package / "shipped_recipes"  # what setup.py makes of the folder beside the package
    return {"alignkit": shipped if shipped.is_dir() else package.parent / "recipes"}


def names() -> list[str]:
    """What the recipes of all libraries are called, sorted."""
    return sorted(
        f"{library}:{path.relative_to(folder).as_posix()}"
        for library, folder in libraries().items()
        for path in _files(library)
    )


@dataclass(frozen=True)
class Source:
    """A recipe file.

    Attributes:
        name: what messages call it: the file as the user named it, or NAME:PATH.
        path: where it lies.
        library: the package that brings it; empty for a file of the user's.
    """

    name: str
    path: Path
    library: str = ""

    def beside(self, given: str) -> Source:
        """The file that this one calls `given`."""
        if _library_of(given):
            return source(given)
        if not self.library:
            path = Path(os.path.normpath(self.path.parent / given))
            return Source(str(path), path)
        inner = self.name.partition(":")[2]
        return _shipped(self.library, posixpath.normpath(posixpath.join(posixpath.dirname(inner), given)))


def source(given: str) -> Source:
    """The file that a user calls `given`; whether it is there is another question."""
    library = _library_of(given)
    return _shipped(library, given.partition(":")[2]) if library else Source(given, Path(given))


def no_source(source: Source, given: str) -> str | None:
    """One line about what cannot be a recipe of a package, or is none; None when it is one, or no package was named."""
    if not source.library:
        return None
    inner = PurePosixPath(source.name.partition(":")[2])
    if inner.is_absolute() or ".." in inner.parts:
        return f"{shown(given)}: a recipe of {source.library} is named by its path below their folder, without '..'"
    if source.path.is_file():
        return None
    names = sorted(path.relative_to(libraries()[source.library]) for path in _files(source.library))
    known = {name.with_suffix("").as_posix(): name.as_posix() for name in names}
    wanted = str(inner).removesuffix(inner.suffix)
    near = nearest_of(wanted, known)
    hint = f"; did you mean {shown(f'{source.library}:{known[near]}')}?" if near else ";"
    return f"no recipe {shown(given)}{hint} {source.library} brings {_listed(names)}"


def no_library(given: str) -> str:
    """What to say besides of a missing file whose name looks like NAME:PATH; empty for others."""
    named = _NAMED.fullmatch(given)
    if not named or named[2].startswith(("/", "\\")):
        return ""
    known = libraries()
    if near := nearest_of(named[1], known):
        return f"; did you mean {shown(f'{near}:{named[2]}')}?"
    return f"; no package {shown(named[1])} brings recipes, only {', '.join(known)}"


def _library_of(given: str) -> str:
    named = _NAMED.fullmatch(given)
    return named[1] if named and named[1] in libraries() else ""


def _shipped(library: str, given: str) -> Source:
    inner = given.replace("\\", "/")  # Windows has made them of ours
    if inner and ".." not in inner.split("/"):
        inner = posixpath.normpath(inner)
    if not inner.endswith(_ENDINGS):
        inner += _ENDINGS[0]
    return Source(f"{library}:{inner}", libraries()[library] / inner, library)


def _files(library: str) -> list[Path]:
    return [path for ending in _ENDINGS for path in libraries()[library].rglob(f"*{ending}")]


def _listed(names: list[Path]) -> str:
    """`dpo, tidpo; base/: hub, world`."""
    folders: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (name.parent.as_posix(), name.stem)):
        folders.setdefault(name.parent.as_posix(), []).append(name.stem)
    parts = [(f"{folder}/: " if folder != "." else "") + ", ".join(stems) for folder, stems in folders.items()]
    return printable("; ".join(parts), 1500)
