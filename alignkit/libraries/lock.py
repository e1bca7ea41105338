"""alignkit.lock: exactly which files each library is. Committed beside alignkit.toml; written by `alignkit library`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationInfo, field_validator

from alignkit.errors import LibraryError, shown
from alignkit.libraries.config import Declared, refused_name
from alignkit.libraries.tables import Table, read_table, rendered
from alignkit.records.files import write_text

FILE: Final = "alignkit.lock"
FORM: Final = 1

_FORMS: Final = {
    "commit": (re.compile(r"([0-9A-Za-z][\w.+!-]*)?", re.ASCII), "a commit or a version"),
    "tree": (re.compile("sha256:[0-9a-f]{64}"), "sha256: and 64 hex digits"),
}
"""Of what names the folder of a copy, so that it leads nowhere else."""

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

    @field_validator("commit", "tree")
    @classmethod
    def _names_a_folder(cls, value: str, info: ValidationInfo) -> str:
        form, said = _FORMS[str(info.field_name)]
        if not form.fullmatch(value):
            raise ValueError(f"expected {said}, got {shown(value)}")
        return value

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
        raise LibraryError(
            f"{path}: form: {shown(found.form)}, this alignkit reads {FORM}; install the one that wrote it"
        )
    for complaint in filter(None, map(refused_name, found.libraries)):
        raise LibraryError(f"{path}: libraries: {complaint}")
    return found.libraries


def write_lock(folder: Path, locked: Mapping[str, Locked]) -> None:
    """Writes the file, sorted, so that one change is one change in a diff; one that says the same is left alone."""
    blocks = [f"{_HEAD}form = {FORM}\n"]
    for name in sorted(locked):
        values = {key: value for key, value in sorted(locked[name].model_dump().items()) if value not in ("", [])}
        blocks.append(f"[libraries.{name}]\n{rendered(values)}")
    path, text = folder / FILE, "\n".join(blocks)
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)
