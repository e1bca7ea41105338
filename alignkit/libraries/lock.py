"""alignkit.lock: exactly which files each library is. Committed beside alignkit.toml; written by `alignkit library`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import Field

from alignkit.errors import LibraryError
from alignkit.libraries.config import Declared
from alignkit.libraries.tables import Table, read_table, rendered
from alignkit.records.files import write_text

FILE: Final = "alignkit.lock"
FORM: Final = 1

_HEAD: Final = "# Written by 'alignkit library add', 'sync' and 'update'; commit it and leave it to them.\n"


class Locked(Table):
    """One library as it was resolved."""

    source: str
    rev: str = ""
    folder: str = ""
    version: str
    """That library.toml gives."""

    commit: str = ""
    """40 hex digits of git or the Hub; the version of a package; empty for a folder."""

    tree: str
    """`sha256:` over paths and bytes."""

    files: int
    requires: list[str] = Field(default_factory=list)
    """The libraries that its recipes may extend, sorted."""

    @property
    def key(self) -> str:
        """What the folder of its copy is called after the name."""
        return (self.commit if len(self.commit) == 40 else self.tree.partition(":")[2])[:12]

    def is_of(self, declared: Declared) -> bool:
        """Whether it is what a declaration was resolved to."""
        return (self.source, self.rev, self.folder) == (declared.source, declared.rev or "", declared.folder)


class _File(Table):
    form: int
    libraries: dict[str, Locked] = Field(default_factory=dict)


def read_lock(folder: Path) -> dict[str, Locked]:
    """Name -> lock of each library; empty where there is no file.

    Raises:
        LibraryError: it cannot be used.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    found = read_table(path, _File)
    if found.form != FORM:
        raise LibraryError(f"{path}: form: {found.form}, this alignkit reads {FORM}; install the one that wrote it")
    return found.libraries


def write_lock(folder: Path, locked: Mapping[str, Locked]) -> None:
    """Writes the file, sorted, so that one change is one change in a diff."""
    blocks = [f"{_HEAD}form = {FORM}\n"]
    for name in sorted(locked):
        values = {key: value for key, value in sorted(locked[name].model_dump().items()) if value not in ("", [])}
        blocks.append(f"[libraries.{name}]\n{rendered(values)}")
    write_text(folder / FILE, "\n".join(blocks))
