"""The libraries that a recipe can name here: alignkit's own, and those that alignkit.toml declares and its lock has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Final

from alignkit.errors import LibraryError, shown
from alignkit.libraries.config import FILE, Config, find_config
from alignkit.libraries.content import DESCRIPTION, SCHEMA, Description, describe
from alignkit.libraries.lock import Locked, read_lock
from alignkit.libraries.store import verified
from alignkit.records.versions import versions
from alignkit.registry import nearest_of

SHIPPED: Final = "alignkit"


@cache
def shipped() -> Path:
    """The recipes that come with alignkit."""
    package = Path(__file__).parents[1]
    folder = package / "shipped_recipes"  # what setup.py makes of the folder beside the package
    return folder if folder.is_dir() else package.parent / "recipes"


@dataclass(frozen=True)
class Libraries:
    """Libraries by name, each verified once, when it is first used.

    Attributes:
        config: alignkit.toml.
        locked: alignkit.lock.
        folders: libraries that lie elsewhere than the lock has them, such as an older version that is compared.
        symbolic: whether a value that stands for a file that is not here stays as it is written, instead of being a
            mistake: enough to compare recipes.
    """

    config: Config = field(default_factory=Config)
    locked: Mapping[str, Locked] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    symbolic: bool = False
    _verified: dict[str, Path] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def here(cls) -> Libraries:
        """Those of the working folder's project.

        Raises:
            LibraryError: alignkit.toml or alignkit.lock cannot be used.
        """
        config = find_config()
        return cls(config, read_lock(config.folder) if config.folder else {})

    @property
    def names(self) -> list[str]:
        """All that are declared, or locked because one of those needs them; alignkit's own first."""
        return [SHIPPED, *sorted({*self.config.libraries, *self.locked, *self.folders})]

    def folder(self, name: str) -> Path:
        """Where a library lies, and it is what the lock says.

        Raises:
            LibraryError: it is not locked, or as another one; its copy is missing or another one.
        """
        if name == SHIPPED:
            return self.folders.get(name) or shipped()
        if name in self.folders:
            return self.folders[name]
        if name not in self._verified:
            self._verified[name] = verified(self.config.root, name, self._lock_of(name))
        return self._verified[name]

    def _lock_of(self, name: str) -> Locked:
        locked, declared = self.locked.get(name), self.config.libraries.get(name)
        if locked is None:
            raise LibraryError(f"library {shown(name)} is not in alignkit.lock; run 'alignkit library sync'")
        if declared is not None and not locked.is_of(declared):
            raise LibraryError(
                f"library {shown(name)}: {FILE} has {_said(declared.source, declared.rev, declared.folder)}, "
                f"alignkit.lock {_said(locked.source, locked.rev, locked.folder)}; run 'alignkit library sync'"
            )
        return locked

    def may_extend(self, name: str, other: str) -> str | None:
        """Why a recipe of library `name` may not name one of library `other`; None when it may."""
        if other in (name, SHIPPED) or name == SHIPPED:
            return None
        declared = self.description(name).libraries if name in self.folders else self.locked[name].requires
        if other in declared:
            return None
        return f"library {shown(name)} may not name one of {shown(other)}: its library.toml does not declare it"

    def description(self, name: str) -> Description:
        """What a library says of itself; of alignkit's own, its version.

        Raises:
            LibraryError: it cannot be used.
        """
        if name == SHIPPED:
            return Description(name=name, version=versions()[SHIPPED], schema_=SCHEMA)
        folder = self.folder(name)
        path = folder / DESCRIPTION
        return describe({DESCRIPTION: path.read_bytes()} if path.is_file() else {}, name)

    def version(self, name: str) -> str:
        """Version and commit of a library, for records and lists: `1.4.0 (v1.4.0, 0123456789ab)`."""
        locked = self.locked.get(name)
        if locked is None or name in self.folders:
            return self.description(name).version
        return f"{locked.version} ({', '.join(filter(None, (locked.rev, locked.commit, locked.tree)))})"

    def at(self, name: str, folder: Path) -> Libraries:
        """The same, with one library taken from a folder, unverified."""
        return replace(self, folders={**self.folders, name: folder}, _verified=self._verified)

    def file(self, given: str) -> Path | None:
        """What `path:NAME/...` or `LIBRARY:PATH` stands for; None for any other text.

        Raises:
            LibraryError: there is no such name or file, or it would lie elsewhere.
        """
        scheme, colon, rest = given.partition(":")
        if not colon or not rest or rest.startswith("/"):
            return None
        if scheme == "path":
            return self._path(given, rest)
        if scheme not in self.names:
            return None
        folder = self.folder(scheme)
        if not _goes_down(rest):
            raise LibraryError(f"{shown(given)}: a file of a library is named by its path below it, without '..'")
        if not os.path.isfile(folder / rest):  # `Path.is_file` fails for a name that is too long
            raise LibraryError(f"no file {shown(rest)} in library {shown(scheme)}")
        return folder / rest

    def _path(self, given: str, rest: str) -> Path:
        name, _, inner = rest.replace("\\", "/").partition("/")
        known = self.config.paths
        if name not in known:
            if self.config.folder is None:
                wanted = f"write one with [paths] and {name} = '...'"
                raise LibraryError(f"{shown(given)}: there is no {FILE} in this folder or above; {wanted}")
            near = nearest_of(name, known)
            hint = f"did you mean {shown(f'path:{near}')}? " if near else ""
            names = ", ".join(sorted(known)) or "none"
            raise LibraryError(f"{shown(given)}: {FILE} has no {shown(name)} under [paths]; {hint}known: {names}")
        if not _goes_down(inner):
            raise LibraryError(f"{shown(given)}: what follows the name goes down from it, without '..' or a second '/'")
        return self.config.path(name) / inner if inner else self.config.path(name)


def _goes_down(inner: str) -> bool:
    """Whether a path stays below the folder that it is joined to, on any system."""
    path = PureWindowsPath(inner)
    return not path.anchor and ".." not in path.parts


def _said(source: str, rev: str | None, folder: str) -> str:
    return shown(" ".join(filter(None, (source, rev, folder))))
