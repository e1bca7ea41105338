"""Recipe files and the chain of files they extend, merged into one tree.

What one recipe may make us read has a budget: each file is read once, whoever extends it, and files, depth, bytes and
values are counted before they cost anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from alignkit.errors import Problem, RecipeError, printable, shown
from alignkit.libraries.known import Libraries
from alignkit.recipe.composing import first_key
from alignkit.recipe.header import EXTENDS_KEY, FILE_KEYS, SWEEP_KEY, Header
from alignkit.recipe.libraries import Source, no_library, no_source, source
from alignkit.recipe.stages import STAGES_KEY, Roots, layered, own_of
from alignkit.recipe.tree import Node, Place
from alignkit.recipe.yaml import MAX_BYTES, TOO_LARGE, Budget, read_yaml

MAX_NAME: Final = 255
"""Longest name that is compared with others."""
MAX_FILES: Final = 100
"""Names under `extends`, over all files that a recipe is built on."""
MAX_CHAIN: Final = 20
"""Files of which each extends the next."""
MAX_TOTAL_BYTES: Final = 1024 * 1024
"""Size of a recipe with everything it extends."""


@dataclass(frozen=True)
class RecipeTree:
    """A recipe file as it was read.

    Attributes:
        roots: its values on top of everything it extends, stage by stage.
        problems: what is wrong with single keys of these files.
        headers: what these files say of themselves, the recipe first.
        files: the files, the recipe first.
    """

    roots: Roots
    problems: list[Problem]
    headers: list[Header]
    files: list[Source]

    @property
    def root(self) -> Node:
        """All its values in one tree; those of a pipeline below `stages`."""
        return self.roots.root


def read_recipe_tree(path: Path, libraries: Libraries, keys: Collection[str] = ()) -> RecipeTree:
    """The tree of a recipe on top of everything it extends.

    Args:
        path: the recipe, or NAME:PATH for one of a library.
        libraries: those that can be named.
        keys: those that a recipe has at its top. A file with none of them, or nearly so, is not a recipe, and none of
            it is repeated in messages. Empty to take any file.

    Raises:
        RecipeError: a file is missing, cannot be read as YAML, is of a later schema, extends itself, or is no recipe;
            or there are too many.
    """
    file = usable(str(path), libraries)
    reader = _Reader({*keys, *FILE_KEYS, STAGES_KEY} if keys else frozenset())
    return RecipeTree(reader.read(file, ()), reader.problems, reader.headers, reader.files)


def usable(given: str, libraries: Libraries) -> Source:
    """The file that a user calls `given`, which is there and has a recipe's size.

    Raises:
        RecipeError: it is not.
    """
    file = source(given, libraries)
    if complaint := _unusable(file, given, Path()):
        raise RecipeError([Problem("", "", complaint)])
    return file


class _Reader:
    """Reads the files of one recipe and keeps count."""

    def __init__(self, keys: Collection[str]) -> None:
        self.keys = keys
        self.problems: list[Problem] = []
        self.headers: list[Header] = []
        self.files: list[Source] = []
        self._trees: dict[Path, Roots] = {}
        self._names = 0
        self._bytes = 0
        self._budget = Budget()

    def read(self, file: Source, chain: tuple[Source, ...]) -> Roots:
        """The trees of a file on top of what it extends; `chain` leads to it."""
        resolved = file.path.resolve()
        if resolved not in self._trees:
            self._trees[resolved] = self._merged(file, chain)
        return self._trees[resolved]

    def _merged(self, file: Source, chain: tuple[Source, ...]) -> Roots:
        root = self._root(file)
        chain = (*chain, file)
        own, problems = own_of(root, FILE_KEYS)
        bases = [self.read(base, chain) for base in self._bases(root, file, chain)]
        extended = {name: self._of_stage(stage.node, file, chain) for name, stage in own.stages.items()}
        roots, more = layered(bases, own, extended)
        self.problems += [*problems, *more]
        return roots

    def _of_stage(self, stage: Node, file: Source, chain: tuple[Source, ...]) -> list[Node]:
        """What a stage of `file` extends."""
        found = []
        for base in self._bases(stage, file, chain):
            roots = self.read(base, chain)
            if roots.stages:
                message = f"{shown(base.name)} has stages itself; a stage extends single recipes"
                raise _refusal(str(stage.value[EXTENDS_KEY].place), EXTENDS_KEY, message)
            found.append(roots.shared)
        return found

    def _root(self, file: Source) -> Node:
        content = content_of(file)
        self.files.append(file)
        self._bytes += len(content)
        if self._bytes > MAX_TOTAL_BYTES:
            raise _refusal(file.name, "", f"with the files that extend it, more than {MAX_TOTAL_BYTES // 1024} KiB")
        root, found = read_yaml(content, file.name, budget=self._budget)
        if root is None and found:
            raise RecipeError(found)
        self.problems += found
        root = root or Node({}, Place(file.name, 1))
        if not isinstance(root.value, dict):
            raise _refusal(str(root.place), "", "expected a mapping of keys to values at the top")
        if sweep := root.child(SWEEP_KEY):
            message = f"this is a sweep and no recipe; run it with alignkit sweep {printable(file.name)}"
            raise _refusal(str(sweep.place), SWEEP_KEY, message)
        if (
            self.keys
            and root.value
            and not any(_is_near(first_key(key), self.keys) for key in list(root.value)[:MAX_FILES])
        ):
            known = ", ".join(sorted(self.keys))
            raise _refusal(str(root.place), "", f"this is no recipe: it has none of the keys {known}")
        header, found = Header.of(root)
        self.headers.append(header)
        self.problems += found
        return root

    def _bases(self, root: Node, file: Source, chain: tuple[Source, ...]) -> list[Source]:
        """The files that `root` extends, in the order they are merged."""
        node = root.child(EXTENDS_KEY)
        if node is None:
            return []
        names = node.value if isinstance(node.value, list) else [node]
        self._names += len(names)
        if self._names > MAX_FILES:
            message = f"more than {MAX_FILES} files are named under 'extends', over all files of the recipe"
            raise _refusal(str(node.place), EXTENDS_KEY, message)
        if names and len(chain) > MAX_CHAIN:
            raise _refusal(str(node.place), EXTENDS_KEY, f"a chain of more than {MAX_CHAIN} files; leave some out")
        return [_base(name, file, chain) for name in names]


def _refusal(where: str, key: str, message: str) -> RecipeError:
    return RecipeError([Problem(where, key, message)])


def _is_near(key: str, keys: Collection[str]) -> bool:
    return key in keys or (len(key) <= MAX_NAME and bool(get_close_matches(key, keys, n=1)))


def content_of(file: Source) -> bytes:
    """The bytes of a file that is usable.

    Raises:
        RecipeError: it cannot be read after all.
    """
    try:
        with file.path.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)  # what has no size, as below /proc, may have no end
    except OSError as error:
        raise _refusal(file.name, "", f"cannot be read: {error.strerror}") from error
    return content


def _base(name: Node, file: Source, chain: tuple[Source, ...]) -> Source:
    def refuse(message: str) -> RecipeError:
        return _refusal(str(name.place), EXTENDS_KEY, message)

    if not isinstance(name.value, str):
        raise refuse("expected a file name or a list of file names")
    base = file.beside(name.value)
    if complaint := _unusable(base, name.value, file.path.parent, besides=file.path):
        raise refuse(complaint)
    resolved = [one.path.resolve() for one in chain]
    if base.path.resolve() in resolved:
        circle = [*chain[resolved.index(base.path.resolve()) :], base]
        raise refuse(f"goes in a circle: {' -> '.join(one.name for one in circle)}")
    return base


def _unusable(file: Source, given: str, start: Path, besides: Path | None = None) -> str | None:
    """One line about what is no file of a recipe's size; nothing of it is read.

    Args:
        file: the file meant.
        given: its name as the user wrote it.
        start: folder that names are relative to.
        besides: a file that cannot be meant.
    """
    if complaint := no_source(file, given):
        return complaint
    path = file.path
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _missing(given, file, start, besides)
    except OSError as error:
        return f"{shown(given)} cannot be read: {error.strerror}"
    except ValueError:
        return f"{shown(given)} cannot be the name of a file"
    if stat.S_ISDIR(status.st_mode):
        return f"{shown(given)} is a folder, not a recipe"
    if not stat.S_ISREG(status.st_mode):
        return f"{shown(given)} is a pipe, a socket or a device, not a recipe"
    return f"{shown(given)} is {TOO_LARGE}" if status.st_size > MAX_BYTES else None


def _missing(given: str, file: Source, start: Path, besides: Path | None) -> str:
    """That a file is not there, and the nearest that is."""
    path = file.path
    if path.is_symlink():
        return f"{shown(given)} is a link to nothing"
    folders = sorted({folder for folder in (path.parent, start) if folder.is_dir()})
    found = [near for folder in folders for pattern in ("*.y*ml", "*/*.y*ml") for near in folder.glob(pattern)]
    is_absolute = Path(given).is_absolute()
    names = [str(near) if is_absolute else os.path.relpath(near, start) for near in found if near != besides]
    close = get_close_matches(given, names, n=1) if len(given) <= MAX_NAME else []
    return f"no file {shown(given)}" + (
        f"; did you mean {shown(close[0])}?" if close else no_library(given, file.libraries)
    )
