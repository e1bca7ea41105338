"""An older recipe file rewritten for the schema of today, with its comments, its order and its layout.

Only the characters of renamed keys are replaced, at the places that PyYAML gives, and the result is read again: it must
be the tree that the renames mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from alignkit.errors import Problem, RecipeError
from alignkit.libraries.known import Libraries
from alignkit.recipe import migrations
from alignkit.recipe.composing import REMOVE, is_path
from alignkit.recipe.files import read_recipe_tree
from alignkit.recipe.header import SCHEMA, VERSION_KEY
from alignkit.recipe.libraries import source
from alignkit.recipe.migrations import Renamed
from alignkit.recipe.parts import Part, parts
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.settings import spellings
from alignkit.recipe.tree import Node, component_name, nearest
from alignkit.recipe.yaml import read_yaml
from alignkit.records.files import write_bytes

_BOM = "\ufeff"

Owners = Mapping[str, tuple[Part, str | None]]
"""Dotted path of a mapping -> what it is, and the component that it names or inherits."""


@dataclass(frozen=True)
class Migration:
    """What becomes of one file.

    Attributes:
        path: the file.
        before: its text.
        after: its text in this schema.
        changes: what is done, in words.
    """

    path: Path
    before: str
    after: str
    changes: list[str]

    def write(self) -> None:
        """Writes the new text in place of the old one, whole or not at all; the file's permissions stay.

        Raises:
            RunFolderError: the disk is full, read-only or gone.
        """
        path = self.path.resolve()  # a link stays one
        mode = path.stat().st_mode
        write_bytes(path, self.after.encode())
        path.chmod(mode & 0o7777)


def migrate(path: Path, libraries: Libraries) -> Migration:
    """What a recipe file becomes in this schema; nothing is written.

    Args:
        path: the file.
        libraries: those that it can name.

    Raises:
        RecipeError: it cannot be read, is a library's, has two names for one key, or cannot be rewritten.
    """
    if source(str(path), libraries).library:
        raise RecipeError([Problem(str(path), "", "is a library's, and migrated where that is made")])
    read = read_recipe_tree(path, libraries, Recipe.model_fields)
    before = path.read_bytes().decode()
    text = before.removeprefix(_BOM)
    root, problems = read_yaml(text, str(path))
    if problems or root is None or not root.value:
        raise RecipeError(problems or [Problem(str(path), "", "holds nothing to migrate")])
    header, whole = read.headers[0], read.root
    changes = []
    for one in migrations.MIGRATIONS:
        if one.schema > header.schema:
            rename = _Rename(str(path), one, _owners(whole, root))
            text, count = rename.text(text)
            root, whole = rename.tree(root), rename.tree(whole)
            changes += [f"{one.old} -> {one.new}"] if count else []
    if VERSION_KEY not in root.value or header.schema < SCHEMA:
        text = _with_schema(text, _composed(text))
        changes.append(f"{VERSION_KEY}: {SCHEMA}")
    after, problems = read_yaml(text, str(path))
    if problems or after is None or after.plain() != {**root.plain(), VERSION_KEY: SCHEMA}:
        message = f"cannot be rewritten without changing more than {', '.join(changes)}; do it by hand"
        raise RecipeError([Problem(str(path), "", message)])
    return Migration(path, before, before[: before.startswith(_BOM)] + text, changes)


def _owners(whole: Node, own: Node) -> Owners:
    """The mappings of a file's own tree, and of all that it extends, by every spelling of their path."""
    found: dict[str, tuple[Part, str | None]] = {}
    for root in (whole, own):
        for part in parts(Recipe, root):
            node, depth = nearest(root, part.path)
            name = component_name(node) if part.registry and depth == len(part.path) else None
            for spelled in spellings(root, part.path):
                if name or spelled not in found:
                    found[spelled] = (part, name)
    return found


@dataclass(frozen=True)
class _Rename:
    """One rename in one file.

    Attributes:
        file: its name, for messages.
        one: the rename.
        owners: the mappings of the file.
    """

    file: str
    one: Renamed
    owners: Owners

    def text(self, text: str) -> tuple[str, int]:
        """The text after it, and in how many places that differs."""
        spots = {key.start_mark.index: (key, new, path) for key, new, path in self._spots(_composed(text), "")}
        for start, (key, new, path) in sorted(spots.items(), reverse=True):
            written = text[start : key.end_mark.index]
            quote = written[0] if written[0] in "'\"" else ""
            if written != f"{quote}{key.value}{quote}":
                raise self._refusal(key, path, "; it has an anchor or an escape, so do it by hand")
            text = f"{text[:start]}{quote}{new}{quote}{text[key.end_mark.index :]}"
        return text, len(spots)

    def tree(self, node: Node, path: str = "") -> Node:
        """The tree that it means; where one of several files has the new name already, its value."""
        if isinstance(node.value, list):
            return Node([self.tree(item, _below(path, index)) for index, item in enumerate(node.value)], node.place)
        if not isinstance(node.value, dict):
            return node
        entries = {}
        for key, child in node.value.items():
            new = self._new(key, path)
            if new == key or new not in node.value:
                entries[new] = self.tree(child, _below(path, key))
        return Node(entries, node.place)

    def _spots(self, node: yaml.Node, path: str) -> Iterator[tuple[yaml.ScalarNode, str, str]]:
        """The keys that it changes, each with its new name and its path."""
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                yield from self._spots(item, _below(path, index))
        elif isinstance(node, yaml.MappingNode):
            taken = [key.value for key, _ in node.value]
            for key, value in node.value:
                below, new = _below(path, key.value), self._new(key.value, path)
                if new != key.value and new in taken:
                    raise self._refusal(key, below, ", which is given too; remove one of them")
                if new != key.value:
                    yield key, new, below
                yield from self._spots(value, below)

    def _new(self, key: str, path: str) -> str:
        """What a key of the mapping at `path` is called after it; a dotted one step by step."""
        start = REMOVE if not path and key.startswith(REMOVE) else ""
        old = key.removeprefix(start).split(".") if not path and is_path(key) else [key]
        new: list[str] = []
        for step in old:
            owner = self.owners.get(".".join(filter(None, (path, *old[: len(new)]))))
            new.append(self.one.new if owner and self.one.fits(*owner, step) else step)
        return start + ".".join(new)

    def _refusal(self, key: yaml.ScalarNode, path: str, why: str) -> RecipeError:
        message = f"is called '{self.one.new}' since schema {self.one.schema}{why}"
        return RecipeError([Problem(f"{self.file}:{key.start_mark.line + 1}", path, message)])


def _below(path: str, step: str | int) -> str:
    return f"{path}.{step}" if path else str(step).removeprefix(REMOVE)


def _composed(text: str) -> yaml.MappingNode:
    """PyYAML's tree of a text that `read_yaml` had nothing against."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode), "checked as a recipe"
    return root


def _with_schema(text: str, root: yaml.MappingNode) -> str:
    """The text with the number of this schema: in place of the one it has, or below the comments at its top."""
    said = f"{VERSION_KEY}: {SCHEMA}"
    for key, value in root.value:
        if key.value == VERSION_KEY:
            return f"{text[: value.start_mark.index]}{SCHEMA}{text[value.end_mark.index :]}"
    first = root.value[0][0].start_mark
    if root.flow_style:
        brace = text.index("{", root.start_mark.index) + 1
        return f"{text[:brace]}{said}, {text[brace:]}"
    at = first.index - first.column
    lines = text[:at].splitlines(keepends=True)
    comments = [number for number, line in enumerate(lines) if line.lstrip().startswith("#")]
    # Comments below the last gap are about the first key.
    gaps = [number for number in range(comments[0] if comments else len(lines), len(lines)) if number not in comments]
    at = sum(map(len, lines[: gaps[-1] + 1])) if gaps else at
    end = "\r\n" if "\r\n" in text else "\n"
    return f"{text[:at]}{' ' * first.column}{said}{end}{text[at:]}"
