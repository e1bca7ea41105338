"""alignkit.toml: the libraries that a project uses, and where this machine has its data and models."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import Field, field_validator

from alignkit.errors import LibraryError, shown
from alignkit.libraries.tables import Table, parse_table, read_table, rendered
from alignkit.records.files import write_text

FILE: Final = "alignkit.toml"

NAME: Final = re.compile(r"[A-Za-z][\w-]{1,63}", re.ASCII)
"""Of a library; one letter would be a drive of Windows."""

RESERVED: Final = frozenset({"alignkit", "builtin", "path", "stage", "file", "git", "hf", "pip", "http", "https"})

Kind = Literal["git", "path", "hf", "pip"]
_SOURCE: Final = re.compile(r"(?:(git)\+(?=https://|ssh://|file://)|(path|hf|pip):)(.+)")
_FORMS: Final = "git+https://..., git+ssh://..., git+file://..., path:FOLDER, hf:OWNER/NAME or pip:PACKAGE"


class Declared(Table):
    """One library as a project, or a library that needs it, declares it."""

    source: str
    """Where it comes from: `git+https://...`, `path:../folder`, `hf:owner/name` or `pip:package`."""

    rev: str | None = None
    """Tag or commit; needed for git and the Hub, refused for the others."""

    folder: str = ""
    """Folder inside a repository that holds the library."""

    version: str = ""
    """Versions that will do, such as `>=1.2,<2`; empty for any."""

    @field_validator("source")
    @classmethod
    def _has_known_form(cls, value: str) -> str:
        if not _SOURCE.fullmatch(value) or not value.isprintable():
            raise ValueError(f"expected {_FORMS}, got {shown(value)}")
        return value

    @field_validator("folder")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\\" in value or ":" in value:
            raise ValueError(f"expected a folder below the source, got {shown(value)}")
        return value.strip("/")

    @field_validator("version")
    @classmethod
    def _is_specifier(cls, value: str) -> str:
        try:
            SpecifierSet(value)
        except InvalidSpecifier:
            raise ValueError(f"expected versions such as '>=1.2,<2', got {shown(value)}") from None
        return value

    @property
    def kind(self) -> Kind:
        """How it is fetched."""
        found = _SOURCE.fullmatch(self.source)
        assert found is not None
        kind: Kind = found[1] or found[2]  # type: ignore[assignment]  # the pattern has no others
        return kind

    @property
    def place(self) -> str:
        """URL, folder, Hub id or package."""
        found = _SOURCE.fullmatch(self.source)
        assert found is not None
        return found[3]

    def refusal(self) -> str | None:
        """What is wrong with source and revision together; None when nothing is."""
        if self.kind in ("git", "hf") and not self.rev:
            return f"rev: missing; a {self.kind} source needs a tag or a commit"
        if self.kind in ("path", "pip") and self.rev is not None:
            return f"rev: {shown(self.rev)} has no use for a {self.kind} source; leave it out"
        return None


class _File(Table):
    libraries: dict[str, Declared] = Field(default_factory=dict)
    paths: dict[str, str] = Field(default_factory=dict)
    allowed_signers: str | None = None


@dataclass(frozen=True)
class Config:
    """What alignkit.toml says.

    Attributes:
        folder: where it lies; None where there is none, and nothing is declared.
        libraries: name -> declaration.
        paths: name -> file or folder of this machine, as given.
        allowed_signers: file of those who may sign libraries; None takes unsigned ones.
    """

    folder: Path | None = None
    libraries: Mapping[str, Declared] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    allowed_signers: Path | None = None

    @property
    def root(self) -> Path:
        """The folder, which must be there."""
        assert self.folder is not None, "asked for by name only"
        return self.folder

    def path(self, name: str) -> Path:
        """The file or folder under a name of `[paths]`; relative ones start from the folder of alignkit.toml."""
        return self.root / Path(self.paths[name]).expanduser()


def find_config(start: Path | None = None) -> Config:
    """The nearest alignkit.toml, from a folder upwards to the top of its repository, or of the file system.

    Raises:
        LibraryError: it cannot be used.
    """
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return read_config(folder)
        if (folder / ".git").exists():
            break
    return Config()


def read_config(folder: Path) -> Config:
    """alignkit.toml in a folder.

    Raises:
        LibraryError: it cannot be used.
    """
    path = folder / FILE
    file = read_table(path, _File)
    check_declared(file.libraries, str(path))
    for name in file.paths:
        if not NAME.fullmatch(name):
            raise LibraryError(f"{path}: paths: {shown(name)} is no name; give letters, digits, - and _")
    signers = None if file.allowed_signers is None else folder / Path(file.allowed_signers).expanduser()
    return Config(folder, file.libraries, file.paths, signers)


def check_declared(libraries: Mapping[str, Declared], where: str) -> None:
    """Refuses names and revisions that cannot be.

    Raises:
        LibraryError: the first one.
    """
    for name, declared in libraries.items():
        if complaint := refused_name(name):
            raise LibraryError(f"{where}: libraries: {complaint}")
        if complaint := declared.refusal():
            raise LibraryError(f"{where}: libraries.{name}.{complaint}")


def declare(name: str, values: Mapping[str, str | None]) -> Declared:
    """A declaration as a table of alignkit.toml would give it.

    Raises:
        LibraryError: it cannot be.
    """
    given = {key: value for key, value in values.items() if value}
    declared = parse_table(rendered(given).encode(), f"library {shown(name)}", Declared)
    check_declared({name: declared}, "alignkit library add")
    return declared


def refused_name(name: str) -> str | None:
    """Why a library cannot be called so; None when it can."""
    if name.lower() in RESERVED:
        return f"the name {shown(name)} is taken; choose another one"
    if not NAME.fullmatch(name):
        return f"{shown(name)} is no name of a library; give a letter, then letters, digits, - and _"
    return None


def with_declared(folder: Path, name: str, declared: Declared) -> str:
    """The text of alignkit.toml, or of a first one, with a library's table at its end; all else stays as it is.

    Raises:
        LibraryError: the file takes no table there.
    """
    path = folder / FILE
    before = path.read_bytes().decode() if path.exists() else ""
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    values = {key: value for key, value in declared.model_dump().items() if value}
    table = f"{gap}[libraries.{name}]\n{rendered(values)}"
    text = before + (table.replace("\n", "\r\n") if "\r\n" in before else table)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise LibraryError(
            f"{path}: 'libraries' is written in a way that takes no table at the end; write [libraries.{name}] there "
            "yourself and run 'alignkit library sync'"
        ) from None
    return text


def _rev_in(text: str, name: str) -> object:
    """The revision of a library in a text of alignkit.toml; None where it is none."""
    try:
        return tomllib.loads(text)["libraries"][name].get("rev")
    except (tomllib.TOMLDecodeError, LookupError):
        return None


def set_rev(folder: Path, name: str, rev: str) -> None:
    """Gives a library another revision; the one line changes and all else stays as it is.

    Raises:
        LibraryError: the table is written in a way that has no such line.
    """
    path = folder / FILE
    text = path.read_bytes().decode()  # with the line ends that it has
    header = rf"^\[\s*libraries\s*\.\s*[\"']?{re.escape(name)}[\"']?\s*\][^\n]*\n(?:(?!\s*\[)[^\n]*\n)*?"
    line = re.compile(rf"({header}[ \t]*rev[ \t]*=[ \t]*)(\"[^\"\n]*\"|'[^'\n]*')", re.MULTILINE)
    changed = line.sub(lambda found: f'{found[1]}"{rev}"', text, count=1)
    if _rev_in(changed, name) != rev:
        raise LibraryError(f"{path}: libraries.{name} has no line 'rev = ...' to change; write {rev} there yourself")
    write_text(path, changed)
