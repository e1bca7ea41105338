"""Files of one commit of a git repository: nothing is checked out, no hook, filter, submodule or LFS is run."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alignkit.errors import LibraryError, printable, shown
from alignkit.libraries.content import check_path, check_room, check_size, is_hidden, is_wanted, refuse_link

SECONDS: Final = 300
"""Longest that git may take for one command."""

_WHOLE: Final = str(2**31 - 1)
"""A depth that means all of a history, also where a part of it was fetched before."""

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REV: Final = re.compile(r"(?!.*(\.\.|//|@\{|\.lock$))\w[\w./+-]*", re.ASCII)
_SETTINGS: Final = ("-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false", "-c", "gc.auto=0")
_OURS: Final = frozenset({"GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"})
"""Variables of git that say how to reach a server; the others would point it at another repository."""


def commit_of(url: str, rev: str, where: str) -> str:
    """The commit of a tag, or `rev` itself where it is one; asks the network for a tag only.

    Raises:
        LibraryError: a branch, a part of a commit, no such tag, or git cannot reach the repository.
    """
    if COMMIT.fullmatch(rev):
        return rev
    if not _REV.fullmatch(rev):
        raise LibraryError(f"{where}: rev {shown(rev)} is neither a tag nor a commit of 40 hex digits")
    refs = _refs(url, where)
    found = refs.get(f"refs/tags/{rev}^{{}}") or refs.get(f"refs/tags/{rev}")
    if found:
        return found
    if branch := refs.get(f"refs/heads/{rev}"):
        raise LibraryError(
            f"{where}: rev {shown(rev)} is a branch, which moves; give a tag or a commit (it is {branch})"
        )
    if re.fullmatch(r"[0-9a-f]{7,39}", rev):
        raise LibraryError(f"{where}: rev {shown(rev)} is a part of a commit; give all 40 hex digits")
    tags = tags_of(refs)
    known = f"its tags: {printable(', '.join(tags[-10:]))}" if tags else "it has no tags; give a commit"
    raise LibraryError(f"{where}: no tag {shown(rev)} in {printable(url)}; {known}")


def newer_tags(url: str, rev: str, where: str) -> list[str]:
    """Tags that sort after `rev` as versions do, the newest last; empty where it is no tag.

    Raises:
        LibraryError: git cannot reach the repository.
    """
    tags = tags_of(_refs(url, where))
    return tags[tags.index(rev) + 1 :] if rev in tags else []


def tags_of(refs: dict[str, str]) -> list[str]:
    """Names of the tags, in the order of versions."""
    names = [ref.removeprefix("refs/tags/") for ref in refs if ref.startswith("refs/tags/") and not ref.endswith("^{}")]
    return sorted(names, key=lambda name: [(int(part), "") if part.isdigit() else (-1, part) for part in _parts(name)])


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"(\d+)", name) if part]


def files_of(url: str, commit: str, rev: str, folder: str, where: str) -> dict[str, bytes]:
    """The files of a library at a commit.

    Args:
        url: of the repository.
        commit: 40 hex digits.
        rev: the tag that the commit may be fetched by, from a server that gives no single commits.
        folder: the one in the repository that holds the library; empty for its top.
        where: what messages begin with.

    Raises:
        LibraryError: it cannot be had, or holds what a library may not.
    """
    with _repository() as repository:
        _fetch(repository, url, commit, rev, where)
        listing = _git(["-C", repository, "ls-tree", "-r", "-z", "-l", f"{commit}:{folder}"], where)
        blobs = _blobs(listing.decode("utf-8", "surrogateescape"), where)
        asked = "".join(f"{blob}\n" for blob in blobs.values())
        told = _git(["-C", repository, "cat-file", "--batch"], where, asked.encode())
    return dict(zip(blobs, _contents(told), strict=True))


def _contents(told: bytes) -> Iterator[bytes]:
    """The objects that `cat-file --batch` prints: a line with the size, the bytes, a line end."""
    at = 0
    while at < len(told):
        head = told.index(b"\n", at)
        size = int(told[at:head].split()[2])
        yield told[head + 1 : head + 1 + size]
        at = head + size + 2


def _blobs(listing: str, where: str) -> dict[str, str]:
    """Path -> object of the files that belong to the library."""
    blobs: dict[str, str] = {}
    total = 0
    for entry in filter(None, listing.split("\0")):
        about, _, path = entry.partition("\t")
        mode, kind, blob, size = about.split()
        if mode == "120000" and not is_hidden(path):
            raise refuse_link(path, where)
        if kind != "blob" or not is_wanted(path):
            continue
        check_path(path, where)
        check_size(path, int(size), where)
        blobs[path] = blob
        total += int(size)
        check_room(len(blobs), total, where)
    return blobs


@contextmanager
def _repository() -> Iterator[str]:
    """An empty repository that goes again."""
    with tempfile.TemporaryDirectory(prefix="alignkit-git-", ignore_cleanup_errors=True) as folder:
        _git(["init", "--quiet", "--bare", "--template=", folder], "git")
        yield folder


def _fetch(repository: str, url: str, commit: str, rev: str, where: str) -> None:
    """Fetches a commit alone, or by its tag, or with all else where the server gives no single ones."""
    refs = [[commit], [f"refs/tags/{rev}"], ["+refs/heads/*:refs/a/*", "+refs/tags/*:refs/b/*"]]
    failed: LibraryError | None = None
    for wanted in refs if rev != commit else refs[::2]:
        depth = "1" if len(wanted) == 1 else _WHOLE
        options = ["--quiet", "--no-tags", "--no-recurse-submodules", "--depth", depth]
        command = ["-C", repository, "fetch", *options, "--", url, *wanted]
        try:
            _git(command, where)
            _git(["-C", repository, "cat-file", "-e", f"{commit}^{{commit}}"], where)
            return
        except LibraryError as error:
            failed = failed or error
    if Path(repository, "FETCH_HEAD").exists() and _is_reachable(url, where):
        raise LibraryError(f"{where}: commit {commit} is not in {printable(url)}")
    assert failed is not None
    raise failed


def _is_reachable(url: str, where: str) -> bool:
    try:
        _refs(url, where)
    except LibraryError:
        return False
    return True


def _refs(url: str, where: str) -> dict[str, str]:
    """Full name -> object of every branch and tag; a tag's commit under its name with `^{}`."""
    told = _git(["ls-remote", "--heads", "--tags", "--", url], where).decode("utf-8", "replace")
    return {ref: found for found, _, ref in (line.partition("\t") for line in told.splitlines())}


def _git(arguments: list[str], where: str, given: bytes = b"") -> bytes:
    """What a git command prints, given this as its input.

    Raises:
        LibraryError: there is no git, it fails or it takes too long.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key in _OURS}
    environment = kept | {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https:ssh:file", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *_SETTINGS, *arguments],
            env=environment,
            input=given,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise LibraryError(f"{where}: there is no program git here, which fetches such libraries; install it") from None
    except subprocess.TimeoutExpired:
        raise LibraryError(f"{where}: git took more than {SECONDS} s and was stopped") from None
    if done.returncode:
        raise LibraryError(f"{where}: {_said(done.stderr)}")
    return done.stdout


def _said(errors: bytes) -> str:
    """The line of git that says what is wrong."""
    lines = [line.strip() for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    fatal = (
        [line for line in lines if line.startswith(("fatal:", "error:"))] or lines or ["git failed and said nothing"]
    )
    return printable(f"git: {fatal[0].partition(': ')[2] or fatal[0]}", 300)
