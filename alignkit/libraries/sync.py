"""Makes alignkit.lock and the copies agree with alignkit.toml: what `alignkit library add`, `sync` and `update` do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from alignkit.errors import LibraryError, printable, shown
from alignkit.libraries import fetching
from alignkit.libraries.config import FILE, Config, Declared
from alignkit.libraries.content import Content, Description, describe, hashes_of, read_folder, tree_of
from alignkit.libraries.lock import Locked, read_lock, write_lock
from alignkit.libraries.signing import signer_of
from alignkit.libraries.store import keep, mend, verified


@dataclass(frozen=True)
class Change:
    """What became of a library's lock; one of the two may be missing.

    Attributes:
        name: the library's.
        before: its lock until now.
        after: its lock from now on.
    """

    name: str
    before: Locked | None
    after: Locked | None

    def __str__(self) -> str:
        if self.after is None:
            return f"{self.name}: not needed any more; taken out of alignkit.lock"
        if self.before is None:
            return f"{self.name}: {self.after.version} locked ({_said(self.after)})"
        if self.before == self.after:
            return f"{self.name}: {self.after.version}, as it was ({_said(self.after)})"
        return (
            f"{self.name}: {self.before.version} ({_said(self.before)}) -> {self.after.version} ({_said(self.after)})"
        )


def _said(locked: Locked) -> str:
    return printable(", ".join(filter(None, (locked.rev, locked.commit or locked.tree, f"{locked.files} files"))))


def sync(config: Config) -> list[Change]:
    """Locks what is declared and not locked yet, and gets every copy that is missing or not what the lock says.

    Raises:
        LibraryError: a library cannot be had, or is not what the lock says.
    """
    before = read_lock(config.root)
    after = _Resolver(config, before, frozenset()).resolve()
    write_lock(config.root, after)
    return changes(before, after)


def sync_locked(config: Config) -> list[Change]:
    """Gets the copies that the lock names, and changes nothing.

    Raises:
        LibraryError: the lock is not what alignkit.toml asks for, or a copy cannot be had.
    """
    before = read_lock(config.root)
    for name, declared in config.libraries.items():
        if name not in before or not before[name].is_of(declared):
            what = "not in alignkit.lock" if name not in before else "locked from another source, rev or folder"
            raise LibraryError(f"--locked: library {shown(name)} of {FILE} is {what}; run 'alignkit library sync'")
    after = _Resolver(config, before, frozenset()).resolve()
    if after != before:
        others = ", ".join(change.name for change in changes(before, after) if change.before != change.after)
        raise LibraryError(f"--locked: alignkit.lock would change for {others}; run 'alignkit library sync'")
    return changes(before, after)


def updated(config: Config, names: Collection[str], to: str | None) -> list[Change]:
    """What the lock would be if these libraries were resolved anew; the copies are made, the lock is not written.

    Args:
        config: alignkit.toml.
        names: the libraries; they are declared.
        to: another tag or commit for the one library named; None takes the declared ones.

    Raises:
        LibraryError: a library cannot be had, or its tag names another commit than it did.
    """
    before = read_lock(config.root)
    for name in names:
        declared = config.libraries[name]
        if to is None and name in before and before[name].is_of(declared):
            refuse_moved(name, declared, before[name])
    if to is not None:
        (name,) = names
        moved = {name: config.libraries[name].model_copy(update={"rev": to})}
        config = replace(config, libraries={**config.libraries, **moved})
    return changes(before, _Resolver(config, before, frozenset(names)).resolve())


def refuse_moved(name: str, declared: Declared, locked: Locked) -> None:
    """Stops when a tag names another commit than the lock has; asks the network.

    Raises:
        LibraryError: it does.
    """
    now = fetching.current_commit(name, declared)
    if now and now != locked.commit:
        raise LibraryError(
            f"{name}: tag {shown(declared.rev)} moved from commit {locked.commit} to {now}; a tag is meant to stay. "
            f"Runs go on with the former; to take the latter: alignkit library update {name} --to {declared.rev}"
        )


def changes(before: Mapping[str, Locked], after: Mapping[str, Locked]) -> list[Change]:
    """One for each library of the two, sorted."""
    return [Change(name, before.get(name), after.get(name)) for name in sorted({*before, *after})]


class _Resolver:
    """Resolves the declared libraries and what those need, one version of each."""

    def __init__(self, config: Config, before: Mapping[str, Locked], fresh: Collection[str]) -> None:
        self.config = config
        self.before = before
        self.fresh = fresh
        self.asked: dict[str, tuple[Declared, str]] = {}

    def resolve(self) -> dict[str, Locked]:
        """Name -> lock; every copy is here and verified then."""
        found: dict[str, Locked] = {}
        waiting = [(name, declared, FILE) for name, declared in self.config.libraries.items()]
        while waiting:
            name, declared, asker = waiting.pop(0)
            declared = self._agreed(name, declared, asker)
            if name in found:
                _refuse_version(name, found[name], declared, asker)
                continue
            found[name], description = self._one(name, declared)
            _refuse_version(name, found[name], declared, asker)
            waiting += [(other, needs, f"library {shown(name)}") for other, needs in description.libraries.items()]
        return found

    def _agreed(self, name: str, declared: Declared, asker: str) -> Declared:
        """The declaration that counts: the project's own, or the only one that libraries give."""
        own = self.config.libraries.get(name)
        if own is not None:
            return own.model_copy(update={"version": declared.version})
        first, first_asker = self.asked.setdefault(name, (declared, asker))
        if (first.source, first.rev, first.folder) != (declared.source, declared.rev, declared.folder):
            raise LibraryError(
                f"library {shown(name)}: {first_asker} needs {first.rev or first.source}, {asker} needs "
                f"{declared.rev or declared.source}; one version of each can be there: declare it in {FILE}"
            )
        return declared

    def _one(self, name: str, declared: Declared) -> tuple[Locked, Description]:
        locked = self.before.get(name)
        if locked is None or name in self.fresh or not locked.is_of(declared):
            return self._locked(name, declared, fetching.fetch(name, declared, self.config))
        try:
            folder = verified(self.config.root, name, locked)
        except LibraryError:
            folder = self._again(name, declared, locked)
        content = read_folder(folder, name)
        self._refuse_unsigned(name, content)
        return locked, describe(content, name)

    def _again(self, name: str, declared: Declared, locked: Locked) -> Path:
        """Gets a copy that is missing or damaged, of what is locked and nothing else."""
        commit = locked.commit if declared.kind in ("git", "hf") else ""
        fetched = fetching.fetch(name, declared, self.config, commit)
        if tree_of(hashes_of(fetched.content)) != locked.tree:
            if declared.kind in ("git", "hf"):
                raise LibraryError(
                    f"{name}: commit {locked.commit} holds other files than alignkit.lock has ({locked.tree}); "
                    "the lock was edited, or the repository is another one"
                )
            raise LibraryError(
                f"{name}: {declared.source} is not what it was when it was locked ({locked.version}); to see what "
                f"changes and take it: alignkit library update {name}"
            )
        return mend(self.config.root, name, locked, fetched.content)

    def _locked(self, name: str, declared: Declared, fetched: fetching.Fetched) -> tuple[Locked, Description]:
        """Lock and copy of what was fetched."""
        self._refuse_unsigned(name, fetched.content)
        description = describe(fetched.content, name)
        if description.name != name:
            raise LibraryError(
                f"{name}: its library.toml calls it {shown(description.name)}; add it under that name, so that recipes "
                "mean the same library wherever they are read"
            )
        locked = Locked(
            source=declared.source,
            rev=declared.rev or "",
            folder=declared.folder,
            version=description.version,
            commit=fetched.commit,
            tree=tree_of(hashes_of(fetched.content)),
            files=len(fetched.content),
            requires=sorted(description.libraries),
        )
        keep(self.config.root, name, locked, fetched.content)
        return locked, description

    def _refuse_unsigned(self, name: str, content: Content) -> None:
        if self.config.allowed_signers is not None:
            signer_of(content, self.config.allowed_signers, name)


def _refuse_version(name: str, locked: Locked, declared: Declared, asker: str) -> None:
    if not declared.version:
        return
    try:
        fits = SpecifierSet(declared.version).contains(Version(locked.version), prereleases=True)
    except InvalidVersion:
        fits = False
    if not fits:
        raise LibraryError(f"{asker} needs library {shown(name)} {declared.version}, but it is {shown(locked.version)}")


def stale(config: Config, locked: Mapping[str, Locked]) -> Iterator[str]:
    """What of the lock is not as alignkit.toml or the copies have it, in a line each; no network."""
    for name, declared in config.libraries.items():
        if name not in locked:
            yield f"library {shown(name)} is not in alignkit.lock; run 'alignkit library sync'"
        elif not locked[name].is_of(declared):
            yield f"library {shown(name)} is locked from another source, rev or folder; run 'alignkit library sync'"
    for name, one in locked.items():
        try:
            verified(config.root, name, one)
        except LibraryError as error:
            yield str(error)
