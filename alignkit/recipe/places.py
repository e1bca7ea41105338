"""Values that stand for a file of this machine: `path:hh` of alignkit.toml, `acme:data/tiny.jsonl` of a library.

The recipe keeps what was written, so that records, cards and comparisons hold no path of one machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

from alignkit.errors import LibraryError, Problem, shown
from alignkit.libraries.known import SHIPPED, Libraries
from alignkit.recipe.tree import Node, Path, dotted

_SECTIONS: Final = ("data", "model")
"""Where files are named."""


@dataclass(frozen=True)
class Stood:
    """A value that stands for a file.

    Attributes:
        written: as the recipe has it.
        means: the file or folder of this machine.
    """

    written: str
    means: str

    @property
    def library(self) -> str:
        """The library that the file is of; empty for one that `[paths]` names."""
        scheme = self.written.partition(":")[0]
        return "" if scheme == "path" else scheme


def found_files(root: Node, libraries: Libraries) -> tuple[Node, dict[Path, Stood], list[Problem]]:
    """`root` with the files that its values stand for, which values these are, and what is wrong with single ones."""
    stood: dict[Path, Stood] = {}
    problems = []
    for path, node in _texts(root):
        try:
            means = libraries.file(node.value)
        except LibraryError as error:
            problems += [] if libraries.symbolic else [Problem(str(node.place), dotted(path), str(error))]
            continue
        if means is not None:
            stood[path] = Stood(node.value, str(means))
        elif complaint := _leaves_library(node, libraries):
            problems.append(Problem(str(node.place), dotted(path), complaint))
    return _with(root, {path: one.means for path, one in stood.items()}), stood, problems


def as_written(tree: dict[str, Any], stood: Mapping[Path, Stood]) -> dict[str, Any]:
    """A plain tree with each of these values as the recipe has it."""
    for (*outer, last), one in standing(tree, stood).items():
        _at(tree, outer)[last] = one.written
    return tree


def standing(tree: dict[str, Any], stood: Mapping[Path, Stood]) -> dict[Path, Stood]:
    """Where in the plain tree of a whole recipe these values stand: a text may have become the path of a mapping."""
    found: dict[Path, Stood] = {}
    for path, one in stood.items():
        value = _at(tree, path)
        inside = value.items() if isinstance(value, dict) else ()
        found |= {(*path, key): one for key, inner in inside if inner == one.means}
        found |= {path: one} if value == one.means else {}
    return found


def _at(tree: Any, path: Iterable[str | int]) -> Any:  # noqa: ANN401 -- any plain value
    for step in path:
        tree = tree[step]
    return tree


def _texts(root: Node) -> Iterator[tuple[Path, Node]]:
    for section in _SECTIONS:
        if (node := root.child(section)) is not None:
            yield from _inside(node, (section,))


def _inside(node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    if isinstance(node.value, str):
        yield path, node
        return
    items = node.value if isinstance(node.value, list) else []
    for step, inner in node.value.items() if isinstance(node.value, dict) else enumerate(items):
        yield from _inside(inner, (*path, step))


def _with(node: Node, values: Mapping[Path, str], path: Path = ()) -> Node:
    if path in values:
        return replace(node, value=values[path])
    if isinstance(node.value, dict):
        return replace(node, value={step: _with(inner, values, (*path, step)) for step, inner in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, value=[_with(inner, values, (*path, step)) for step, inner in enumerate(node.value)])
    return node


def _leaves_library(node: Node, libraries: Libraries) -> str | None:
    """Why a text of a library's recipe may name no file; None for texts that name none outside."""
    library = node.place.source.partition(":")[0]
    if ":" not in node.place.source or library == SHIPPED or library not in libraries.names:
        return None
    text = node.value.strip()
    parts = PureWindowsPath(text).parts
    if not (PurePosixPath(text).is_absolute() or PureWindowsPath(text).anchor or ".." in parts or text[:1] == "~"):
        return None
    return (
        f"a recipe of a library names nothing outside of it and of the working folder, got {shown(node.value)}; write "
        f"path:NAME, which [paths] of alignkit.toml says on each machine, or {library}:FILE"
    )
