"""Where a library comes from: a git repository, a folder, the Hub, an installed package. Only this uses the network."""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from alignkit.errors import LibraryError, printable, shown
from alignkit.lazy import huggingface_hub
from alignkit.libraries import git
from alignkit.libraries.config import Config, Declared
from alignkit.libraries.content import (
    MAX_BYTES,
    Content,
    check_names,
    check_path,
    check_pointers,
    check_room,
    check_size,
    is_wanted,
    read_folder,
)

ENTRY_POINTS: Final = "alignkit.recipes"
"""Group in which a package names the folder of its own that is a library: `acme = "acme_recipes.recipes"`."""

_DATASETS: Final = "datasets/"


@dataclass(frozen=True)
class Fetched:
    """A library as its source has it.

    Attributes:
        commit: 40 hex digits of git or the Hub, the version of a package, empty for a folder.
        content: its files.
    """

    commit: str
    content: Content


def fetch(name: str, declared: Declared, config: Config, commit: str = "") -> Fetched:
    """The files of a library.

    Args:
        name: the library's.
        declared: where it comes from.
        config: of the project; folders are relative to it.
        commit: the one to fetch; empty for the one that the declaration means today.

    Raises:
        LibraryError: it cannot be had, or holds what a library may not.
    """
    get = {"git": _git, "path": _path, "hf": _hub, "pip": _package}[declared.kind]
    found = get(name, declared, config, commit)
    check_pointers(found.content, name)
    check_names(found.content, name)
    return found


def current_commit(name: str, declared: Declared) -> str:
    """The commit that a tag means today; empty for sources without tags.

    Raises:
        LibraryError: it cannot be asked for.
    """
    assert declared.rev is not None or declared.kind in ("path", "pip"), "checked when it was declared"
    if declared.kind == "git":
        return git.commit_of(declared.place, declared.rev or "", name)
    return _hub_commit(name, declared) if declared.kind == "hf" else ""


def newer(name: str, declared: Declared) -> list[str]:
    """Tags of a git repository that come after the declared one, the newest last."""
    return git.newer_tags(declared.place, declared.rev or "", name) if declared.kind == "git" else []


def _git(name: str, declared: Declared, config: Config, commit: str) -> Fetched:
    rev = declared.rev or ""
    commit = commit or git.commit_of(declared.place, rev, name)
    return Fetched(commit, git.files_of(declared.place, commit, rev, declared.folder, name))


def _path(name: str, declared: Declared, config: Config, commit: str) -> Fetched:
    folder = config.root / Path(declared.place).expanduser() / declared.folder
    return Fetched("", read_folder(folder, name))


def _package(name: str, declared: Declared, config: Config, commit: str) -> Fetched:
    package = declared.place
    try:
        installed = distribution(package)
    except (PackageNotFoundError, ValueError):
        message = f"package {shown(package)} is not installed: pip install {printable(package)}"
        raise LibraryError(f"{name}: {message}") from None
    points = [point for point in installed.entry_points if point.group == ENTRY_POINTS]
    chosen = [point for point in points if point.name == name] or points
    if len(chosen) != 1:
        given = ", ".join(point.name for point in points) or "none"
        message = f"package {shown(package)} names {len(points)} folders in the entry points {ENTRY_POINTS}: {given}"
        raise LibraryError(f"{name}: {message}; it must name '{name}', or one alone")
    top, *inner = chosen[0].value.replace(":", "/").replace(".", "/").split("/")
    spec = importlib.util.find_spec(top) if top.isidentifier() else None  # of a top-level module; it is not imported
    places = list((spec and spec.submodule_search_locations) or [])
    if not places or ".." in inner:
        raise LibraryError(f"{name}: package {shown(package)} has no folder {shown(chosen[0].value)}")
    return Fetched(installed.version, read_folder(Path(places[0], *inner, declared.folder), name))


def _hub_id(declared: Declared) -> tuple[str, str]:
    """Repository and its kind: `hf:owner/name` is a model repository, `hf:datasets/owner/name` one of data."""
    is_data = declared.place.startswith(_DATASETS)
    return declared.place.removeprefix(_DATASETS), "dataset" if is_data else "model"


def _hub_commit(name: str, declared: Declared) -> str:
    rev = declared.rev or ""
    if git.COMMIT.fullmatch(rev):
        return rev
    repository, kind = _hub_id(declared)
    try:
        refs = huggingface_hub.HfApi().list_repo_refs(repository, repo_type=kind)
    except Exception as error:  # of the network, of the client, of HTTP
        raise LibraryError(f"{name}: the Hub: {_first_line(error)}") from None
    found = {ref.name: ref.target_commit for ref in refs.tags}.get(rev)
    if found is None:
        branch = next((ref.target_commit for ref in refs.branches if ref.name == rev), None)
        if branch:
            message = f"rev {shown(rev)} is a branch, which moves; give a tag or a commit (it is {branch})"
            raise LibraryError(f"{name}: {message}")
        tags = printable(", ".join(ref.name for ref in refs.tags)) or "none"
        raise LibraryError(f"{name}: no tag {shown(rev)} in {shown(repository)}; its tags: {tags}")
    return found


def _hub(name: str, declared: Declared, config: Config, commit: str) -> Fetched:
    commit = commit or _hub_commit(name, declared)
    repository, kind = _hub_id(declared)
    start = f"{declared.folder}/" if declared.folder else ""
    content, total = {}, 0
    try:
        tree = huggingface_hub.HfApi().list_repo_tree(repository, recursive=True, revision=commit, repo_type=kind)
        for entry in tree:
            path = entry.path.removeprefix(start)
            if not entry.path.startswith(start) or not is_wanted(path) or not hasattr(entry, "size"):
                continue
            check_path(path, name)
            check_size(path, entry.size, name)
            content[path] = entry.path
            total += entry.size
            check_room(len(content), total, name)
        with tempfile.TemporaryDirectory(prefix="alignkit-hub-") as folder:
            for inner in content.values():
                huggingface_hub.hf_hub_download(repository, inner, revision=commit, repo_type=kind, local_dir=folder)
            return Fetched(commit, {path: _read(Path(folder, inner)) for path, inner in content.items()})
    except LibraryError:
        raise
    except Exception as error:  # of the network, of the client, of HTTP
        raise LibraryError(f"{name}: the Hub: {_first_line(error)}") from None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _first_line(error: Exception) -> str:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return printable(said, 300)
