"""What libraries bring: their recipes with purpose and needs, and what two versions of a library do differently."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alignkit.errors import LibraryError, RecipeError, printable
from alignkit.libraries.content import DESCRIPTION, RECIPES, SIGNATURE, hashes_of, read_folder
from alignkit.libraries.known import Libraries
from alignkit.recipe.compare import Unfilled, compare
from alignkit.recipe.files import RecipeTree, read_recipe_tree
from alignkit.recipe.libraries import is_sweep, recipe_files, sweep_files
from alignkit.recipe.stages import RESULT_OF
from alignkit.recipe.tree import Node, component_name

HEAD: Final = 8192
"""Bytes at the start of a file in which its first comment is looked for."""

_NEEDS: Final = re.compile(r"needs:\s*(.+)", re.IGNORECASE)
_NAMED: Final = re.compile(r"\S+\.ya?ml:\s*")
_OWN_MODELS: Final = ("world", "scratch")


@dataclass(frozen=True)
class Entry:
    """One recipe of a library.

    Attributes:
        name: `acme:dpo/base-7b.yaml`.
        version: of the library.
        purpose: first comment of the file.
        needs: model and data that are not here, and what the file's comment `Needs: ...` says.
        deprecated: what to use in its place; empty for most.
        problem: why it cannot be read; empty for most.
    """

    name: str
    version: str
    purpose: str
    needs: str = ""
    deprecated: str = ""
    problem: str = ""

    @property
    def said(self) -> str:
        """All but the name, in one line."""
        needs = f" [needs {self.needs}]" if self.needs and not self.problem else ""
        deprecated = f" (deprecated: {self.deprecated})" if self.deprecated else ""
        return f"{self.problem or self.purpose}{needs}{deprecated}"


def entries(libraries: Libraries, pattern: str = "") -> Iterator[Entry]:
    """The recipes of all libraries, then their sweeps, whose name or purpose holds `pattern`, in whatever case.

    A library that cannot be used is one entry that says so.
    """
    for library in libraries.names:
        try:
            found = [*_of_library(library, libraries), *_sweeps_of(library, libraries)]
        except LibraryError as error:
            found = [Entry(f"{library}:", "", "", problem=str(error))]
        yield from (one for one in found if pattern.lower() in f"{one.name} {one.purpose}".lower())


def _of_library(library: str, libraries: Libraries) -> Iterator[Entry]:
    version = libraries.description(library).version
    for path in recipe_files(library, libraries):
        name = f"{library}:{path.as_posix()}"
        comments = comments_of(libraries.folder(library) / path)
        purpose = purpose_of(comments)
        try:
            read = read_recipe_tree(Path(name), libraries)
        except RecipeError as error:
            yield Entry(name, version, purpose, problem=str(error).split("\n")[0])
            continue
        said = next((found[1] for line in comments if (found := _NEEDS.fullmatch(line))), "")
        notes = read.headers[0].notes
        deprecated = notes[0].partition("deprecated: ")[2] if notes else ""
        roots = read.roots.stages.values() or [read.roots.shared]
        outside = dict.fromkeys(need for root in roots for need in _outside(root))
        yield Entry(name, version, purpose, ", ".join(filter(None, (said, *outside))), deprecated)


def _sweeps_of(library: str, libraries: Libraries) -> Iterator[Entry]:
    version = libraries.description(library).version
    for path in sweep_files(library, libraries):
        purpose = purpose_of(comments_of(libraries.folder(library) / path))
        yield Entry(f"{library}:{path.as_posix()}", version, f"{purpose} (alignkit sweep)")


def purpose_of(comments: Sequence[str]) -> str:
    """The first comment of a file, without the file's own name before it; empty where there is none."""
    return printable(_NAMED.sub("", comments[0], count=1)) if comments else ""


def comments_of(path: Path) -> list[str]:
    """The comment lines at the start of a file, without their signs."""
    with path.open("rb") as file:
        text = file.read(HEAD).decode("utf-8-sig", "replace")
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return [line for line in lines if line]


def _outside(root: Node) -> Iterator[str]:
    """Model and data that come from elsewhere, in words; the result of an earlier stage does not."""
    model, data = root.child("model"), root.child("data")
    path = model and model.child("path")
    if model and path and component_name(model) not in (None, *_OWN_MODELS):
        name = str(path.plain())
        yield from [] if name.startswith(RESULT_OF) else [f"model {printable(name)}"]
    train = data and data.child("train")
    if train and isinstance(train.value, str) and train.value not in ("builtin:world", "world"):
        yield f"data {printable(train.value)}"


def changed_recipes(library: str, old: Libraries, new: Libraries) -> Iterator[tuple[str, list[str]]]:
    """Name of each file of a library that two versions have otherwise -> what is different, a line each.

    Of recipes that is each value; of other files, such as data, that they are others.

    Raises:
        LibraryError: one of the two cannot be used.
    """
    before, after = (hashes_of(read_folder(one.folder(library), library)) for one in (old, new))
    for path in sorted({*before, *after} - {DESCRIPTION, SIGNATURE}):
        name = f"{library}:{path}"
        if path not in after:
            yield name, ["removed"]
        elif path not in before:
            yield name, ["added"]
        elif not path.endswith(RECIPES) or any(is_sweep(one.folder(library) / path) for one in (old, new)):
            yield from [(name, ["other content"])] if before[path] != after[path] else []
        elif lines := _different(_read(name, old), _read(name, new)):
            yield name, lines
    needed = [f"[{', '.join(one.description(library).plugins)}]" for one in (old, new)]
    if needed[0] != needed[1]:
        yield f"{library}:{DESCRIPTION}", [f"plugins: {' -> '.join(needed)}"]


def _read(name: str, libraries: Libraries) -> RecipeTree | str:
    try:
        return read_recipe_tree(Path(name), libraries)
    except RecipeError as error:
        return str(error).split("\n")[0]


def _different(before: RecipeTree | str, after: RecipeTree | str) -> list[str]:
    if isinstance(before, str) or isinstance(after, str):
        one, other = (side if isinstance(side, str) else "can be read" for side in (before, after))
        return [] if one == other else [f"{one} -> {other}"]
    notes = [set(side.headers[0].notes) for side in (before, after)]
    told = [f"says {note.partition(': ')[2]}" for note in sorted(notes[1] - notes[0])]
    return [*map(str, compare(Unfilled(before.root), Unfilled(after.root))), *told]
