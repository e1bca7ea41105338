"""Plugins that are files: a .py file or a folder of them, which the user of this machine said may run.

What was said is kept in the user's own configuration: the path, a hash of the content, and the names that it brings, so
that nothing is imported to know them. Nothing that a recipe, a library of recipes or a working folder holds is asked.
What runs is what was hashed, to the byte: modules come from the bytes that were checked, never from byte code.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

from pydantic import Field

from alignkit.errors import AlignkitError, RunFolderError, printable, shown
from alignkit.records.files import Record, one_line, read_record, write_json

MOST_FILES: Final = 64
MOST_BYTES: Final = 2**20
"""Of all files of a plugin together."""

Components = dict[str, dict[str, str]]
"""Kind -> name -> `module:Class`, the module by its name inside the plugin."""


class TrustError(AlignkitError, ValueError):
    """A file cannot be trusted, or what is trusted cannot be read."""


class Entry(Record):
    """A plugin that was trusted."""

    sha256: str
    """Of its Python files, with their names."""

    components: Components
    """What it brings."""


class Store(Record):
    """`trusted.json`."""

    plugins: dict[str, Entry] = Field(default_factory=dict)
    """Absolute path of a file or folder -> what was trusted there."""


class Origin(NamedTuple):
    """What stands for name and version of a package."""

    name: str
    version: str


@dataclass(frozen=True)
class TrustedPoint:
    """A component of a trusted plugin, in the shape of an entry point.

    Attributes:
        name: of the component.
        group: `alignkit.` and its kind.
        value: `module:Class`, as Python calls them once they are loaded.
        path: the plugin.
        sha256: of the content that was trusted.
        complaint: why it is not loaded any more; None where it can be.
    """

    name: str
    group: str
    value: str
    path: Path
    sha256: str
    complaint: str | None

    @property
    def dist(self) -> Origin:
        """Path and hash, in the place of a package and its version."""
        return Origin(str(self.path), f"sha256:{self.sha256}")

    def load(self) -> Any:  # noqa: ANN401 -- whatever the name stands for
        """The class, imported now.

        Raises:
            ImportError: the content is not the one that was trusted.
        """
        module, _, attribute = self.value.partition(":")
        if module not in sys.modules:
            files = read_files(self.path)
            if digest(files) != self.sha256:
                raise ImportError(changed(self.path))
            modules_of(self.path, files)
        return getattr(importlib.import_module(module), attribute)


def points() -> Sequence[TrustedPoint]:
    """The components of all trusted plugins."""
    return _scanned()[0]


def unreadable() -> str | None:
    """Why nothing is known of trusted plugins; None where all is well."""
    return _scanned()[1]


@cache
def _scanned() -> tuple[tuple[TrustedPoint, ...], str | None]:
    """Looked for once per process."""
    try:
        plugins = read_store().plugins
    except TrustError as error:
        return (), str(error)
    return tuple(point for path, entry in plugins.items() for point in _points(Path(path), entry)), None


def _points(path: Path, entry: Entry) -> list[TrustedPoint]:
    complaint, package = state(path, entry), _package(entry.sha256)
    return [
        TrustedPoint(name, f"alignkit.{kind}", f"{package}.{value}", path, entry.sha256, complaint)
        for kind, names in entry.components.items()
        for name, value in names.items()
    ]


def state(path: Path, entry: Entry) -> str | None:
    """Why a plugin is not loaded any more; None where it is as it was trusted."""
    if not os.path.lexists(path):
        named = printable(str(path))
        return f"plugin {named} is gone; restore it or run 'alignkit plugins untrust {named}'"
    try:
        return None if digest(read_files(path)) == entry.sha256 else changed(path)
    except TrustError as error:
        return f"{changed(path)} ({error})"


def changed(path: Path) -> str:
    """What to say where the content is another one."""
    named = printable(str(path))
    return f"plugin {named} changed since it was trusted; look at it and run 'alignkit plugins trust {named}'"


# --- what is trusted ---


def store_path() -> Path:
    """`trusted.json` in the user's configuration.

    Raises:
        TrustError: the user has no such folder; a relative one would be the working folder's.
    """
    home = os.path.expanduser("~")
    default = os.environ.get("APPDATA", "") if os.name == "nt" else os.path.join(home, ".config")
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    folder = configured if os.path.isabs(configured) else default
    if not os.path.isabs(folder):
        raise TrustError("no folder for the user's configuration: neither HOME nor XDG_CONFIG_HOME is an absolute path")
    return Path(folder) / "alignkit" / "trusted.json"


def read_store() -> Store:
    """What was trusted; nothing where nothing was written yet.

    Raises:
        TrustError: the file is damaged, or others than the user may write it.
    """
    path = store_path()
    if not os.path.lexists(path):
        return Store()
    advice = f"repair or remove {printable(str(path))} and trust plugins again"
    try:
        if os.name != "nt":
            status = path.stat()
            if status.st_uid not in (os.getuid(), 0) or status.st_mode & stat.S_IWOTH:
                raise TrustError(f"trusted plugins are not read: others may write the list; {advice}")
        return read_record(path, Store)
    except (RunFolderError, OSError) as error:
        said = str(error).removeprefix(f"{path}: ").rpartition("; ")[0] or str(error)
        raise TrustError(f"trusted plugins are not read: the list {said}; {advice}") from None


def write_store(store: Store) -> None:
    """Keeps what is trusted, durably, for this user alone."""
    path = store_path()
    with one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, store.model_dump(mode="json"))
        path.chmod(0o600)
    _scanned.cache_clear()


# --- what a plugin holds ---


def read_files(path: Path) -> dict[str, bytes]:
    """Name -> content of a plugin's Python files: the file itself, or those directly in the folder.

    Raises:
        TrustError: there are none, too many or too large ones, a link, or a name that no module can have.
    """
    where = printable(str(path))
    try:
        if not os.path.lexists(path):
            raise TrustError(f"no file or folder {shown(str(path))}")
        files = sorted(path.glob("*.py")) if path.is_dir() else [path]
        if not files or files[0].suffix != ".py":
            raise TrustError(f"{where}: expected a .py file or a folder that holds some")
        if len(files) > MOST_FILES:
            raise TrustError(f"{where}: holds more than {MOST_FILES} Python files; give one with the plugin alone")
        content, room = {}, MOST_BYTES
        for file in files:
            content[file.name] = _read(file, room)
            room -= len(content[file.name])
    except OSError as error:
        raise TrustError(f"{where}: cannot be read: {error.strerror or error}") from None
    return content


def _read(file: Path, room: int) -> bytes:
    named = shown(file.name)
    if not file.stem.isidentifier():
        raise TrustError(f"{printable(str(file))}: a module cannot be called {named}; rename it")
    if file.is_symlink() or not file.is_file():
        raise TrustError(f"{printable(str(file))}: is a link or no file; give the file that it stands for")
    with file.open("rb") as opened:
        content = opened.read(room + 1)
    if len(content) > room:
        raise TrustError(f"{printable(str(file.parent))}: more than {MOST_BYTES // 1024} KiB of Python, up to {named}")
    return content


def digest(files: Mapping[str, bytes]) -> str:
    """sha256 of names and contents, hex."""
    found = hashlib.sha256()
    for name, content in sorted(files.items()):
        found.update(f"{name}\0{len(content)}\0".encode())
        found.update(content)
    return found.hexdigest()


# --- loading ---


def modules_of(path: Path, files: Mapping[str, bytes]) -> list[str]:
    """The names by which a plugin's modules can be imported from here on; whoever asks for them trusts them."""
    package = _package(digest(files))
    _FINDER.add(package, path, files)
    return [f"{package}.{name.removesuffix('.py')}" for name in files]


def _package(sha256: str) -> str:
    return f"trusted_{sha256[:12]}"


class _Checked(SourceLoader):
    """Gives the bytes that were checked. It has no times of files, so Python looks for no byte code beside them."""

    def __init__(self, path: str, content: bytes) -> None:
        self._path = path
        self._content = content

    def get_filename(self, fullname: str) -> str:
        return self._path

    def get_data(self, path: str | bytes) -> bytes:
        if path != self._path:
            raise OSError(f"{path!r} was not checked")
        return self._content


class _Finder(MetaPathFinder):
    """Finds the modules of trusted plugins, each plugin a package of its own, and nothing beside them."""

    def __init__(self) -> None:
        self._known: dict[str, ModuleSpec] = {}

    def add(self, package: str, path: Path, files: Mapping[str, bytes]) -> None:
        """Makes `package.module` known for each of a plugin's files."""
        folder = path if path.is_dir() else path.parent
        for name, content in files.items():
            module, file = f"{package}.{name.removesuffix('.py')}", str(folder / name)
            spec = spec_from_file_location(module, file, loader=_Checked(file, content))
            assert spec is not None
            self._known[module] = spec
        home = ModuleType(package, "A trusted plugin.")
        home.__path__ = []
        sys.modules.setdefault(package, home)
        if self not in sys.meta_path:
            sys.meta_path.append(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return self._known.get(fullname)


_FINDER: Final = _Finder()
