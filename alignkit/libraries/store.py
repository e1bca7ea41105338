"""Copies of libraries: `.alignkit/libraries/NAME@KEY` beside alignkit.toml, or vendored into the repository.

A copy has a list of its files' hashes beside it, so that a message can name the file that is not what it was; the hash
of that list is what alignkit.lock has, so the list itself cannot lie.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import filelock

from alignkit.errors import LibraryError, printable
from alignkit.libraries.content import Content, changed_file, hashes_of, read_folder, tree_of
from alignkit.libraries.lock import Locked
from alignkit.records.files import Record, clear, json_text, one_line, publish, read_record, write_text

FOLDER: Final = Path(".alignkit", "libraries")
WAIT: Final = 600.0
"""Seconds that one process waits for another one to have changed the libraries."""

VENDORED: Final = Path("vendor", "alignkit")


class Listed(Record):
    """What is beside a copy."""

    version: str
    rev: str
    commit: str
    hashes: dict[str, str]
    """Path -> sha256."""


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keeps others from changing the libraries of a project meanwhile: alignkit.toml, the lock and the copies.

    Where nothing can be written there is nothing to keep others from, and nothing is said of it here.

    Raises:
        LibraryError: another process has been at it for too long.
    """
    with ExitStack() as held:
        try:
            _make_home(root)
            held.enter_context(filelock.FileLock(root / FOLDER.parts[0] / ".lock", timeout=WAIT))
        except filelock.Timeout:
            message = f"{root}: another process is changing its libraries; wait for it and try again"
            raise LibraryError(message) from None
        except (OSError, NotImplementedError):
            pass
        yield


def _make_home(root: Path) -> None:
    """The folder of copies, which git passes by."""
    home = root / FOLDER.parts[0]
    home.mkdir(exist_ok=True)
    if not (home / ".gitignore").is_file() or (home / ".gitignore").is_symlink():
        write_text(home / ".gitignore", "*\n")


def copy_of(root: Path, name: str, locked: Locked) -> Path | None:
    """The folder of a copy; None where there is none."""
    places = (root / place / f"{name}@{locked.key}" for place in (VENDORED, FOLDER))
    return next((place for place in places if place.is_dir()), None)


def verified(root: Path, name: str, locked: Locked) -> Path:
    """The folder of a copy that is what the lock says.

    Raises:
        LibraryError: it is missing, or a file in it is another one.
    """
    folder = copy_of(root, name, locked)
    if folder is None:
        version = printable(locked.version, 40)
        raise LibraryError(f"no copy of library {name} {version} is here; run 'alignkit library sync', which gets it")
    try:
        found = hashes_of(read_folder(folder, name))
    except LibraryError as error:
        raise LibraryError(f"{error}; run 'alignkit library sync' to get it anew") from None
    if tree_of(found) != locked.tree:
        listed = _listed(folder)
        change = changed_file(listed.hashes, found) if listed and tree_of(listed.hashes) == locked.tree else None
        what = change or "its files are others"
        raise LibraryError(
            f"{folder}: not what alignkit.lock says of {name} {printable(locked.version, 40)}: {what}; run "
            "'alignkit library sync' to get it anew"
        )
    return folder


def keep(root: Path, name: str, locked: Locked, content: Content, place: Path = FOLDER) -> Path:
    """Makes a copy, whole or not at all, read-only; one that is there stays, as a run may read it, or is replaced."""
    parent = root / place
    folder = parent / f"{name}@{locked.key}"
    staging = parent / f".{folder.name}.new"
    if _is_whole(folder, name, locked):
        return folder
    with one_line(parent):
        parent.mkdir(parents=True, exist_ok=True)
        if place == FOLDER:
            _make_home(root)
        else:  # or git on Windows would give its files other line ends, and so other hashes
            write_text(parent / ".gitattributes", "* -text\n")
        remove(staging)
        for path, text in content.items():
            target = staging / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
            target.chmod(0o444)
        remove(folder)
    listed = Listed(version=locked.version, rev=locked.rev, commit=locked.commit, hashes=hashes_of(content))
    write_text(_list_of(folder), json_text(listed.model_dump()))
    publish(staging, folder)
    return folder


def mend(root: Path, name: str, locked: Locked, content: Content) -> Path:
    """Makes a copy anew in the place of the one that is used, so that a vendored one is not passed by."""
    there = copy_of(root, name, locked)
    return keep(root, name, locked, content, VENDORED if there and there.parent == root / VENDORED else FOLDER)


def remove(folder: Path) -> None:
    """Removes a copy, whose files are read-only."""
    if folder.is_dir() and not folder.is_symlink():
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        shutil.rmtree(folder)
    else:
        clear(folder)


def prune_vendored(root: Path, locked: Mapping[str, Locked]) -> list[Path]:
    """Removes vendored copies that no lock names any more; where they were, below `root`."""
    wanted = {f"{name}@{one.key}" for name, one in locked.items()}
    stale = [path for path in sorted((root / VENDORED).glob("*@*")) if path.is_dir() and path.name not in wanted]
    for folder in stale:
        with one_line(folder):
            remove(folder)
            clear(_list_of(folder))
    return [folder.relative_to(root) for folder in stale]


def kept(root: Path, name: str) -> Mapping[Path, Listed]:
    """Every copy of a library that is here and whole, of whatever version."""
    found: dict[str, tuple[Path, Listed]] = {}
    for place in (VENDORED, FOLDER):
        for folder in sorted((root / place).glob(f"{name}@*")):
            listed = _listed(folder) if folder.is_dir() else None
            if listed and _holds(folder, name, tree_of(listed.hashes)):
                found.setdefault(folder.name, (folder, listed))
    return dict(found.values())


def _is_whole(folder: Path, name: str, locked: Locked) -> bool:
    """Whether a copy is there, is what the lock says, and has its list."""
    listed = _listed(folder)
    if not folder.is_dir() or folder.is_symlink() or not listed or tree_of(listed.hashes) != locked.tree:
        return False
    return _holds(folder, name, locked.tree)


def _holds(folder: Path, name: str, tree: str) -> bool:
    """Whether the files in a folder are those of a hash."""
    try:
        return tree_of(hashes_of(read_folder(folder, name))) == tree
    except LibraryError:
        return False


def _list_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _listed(folder: Path) -> Listed | None:
    try:
        return read_record(_list_of(folder), Listed)
    except OSError:
        return None
