"""`alignkit library`: recipe libraries of a team, locked and verified. Only add, sync and update use the network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli import completion
from alignkit.cli.usage import Verb, Verbs
from alignkit.errors import LINE_LENGTH, LibraryError, printable, shown
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.authoring as authoring
    import alignkit.libraries.config as configs
    import alignkit.libraries.content as contents
    import alignkit.libraries.fetching as fetching
    import alignkit.libraries.known as known
    import alignkit.libraries.lock as locks
    import alignkit.libraries.signing as signing
    import alignkit.libraries.store as stores
    import alignkit.libraries.sync as syncing
    import alignkit.recipe.catalogue as catalogue
    import alignkit.records.files as records
    import alignkit.registry as registry
    from alignkit.libraries.config import Config, Declared
    from alignkit.libraries.known import Libraries
    from alignkit.libraries.sync import Change
else:
    authoring = LazyModule("alignkit.authoring")
    configs = LazyModule("alignkit.libraries.config")
    contents = LazyModule("alignkit.libraries.content")
    fetching = LazyModule("alignkit.libraries.fetching")
    known = LazyModule("alignkit.libraries.known")
    locks = LazyModule("alignkit.libraries.lock")
    signing = LazyModule("alignkit.libraries.signing")
    stores = LazyModule("alignkit.libraries.store")
    syncing = LazyModule("alignkit.libraries.sync")
    catalogue = LazyModule("alignkit.recipe.catalogue")
    records = LazyModule("alignkit.records.files")
    registry = LazyModule("alignkit.registry")

app = typer.Typer(
    cls=Verbs,
    help="Recipe libraries of a team: declared in alignkit.toml, locked in alignkit.lock, verified before use.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="A library's name.", autocompletion=completion.libraries)]


@app.command(cls=Verb)
def add(
    name: Annotated[str, typer.Argument(help="What recipes call it: NAME:path. Its library.toml says so too.")],
    source: Annotated[
        str,
        typer.Argument(
            help="git+https://..., git+ssh://..., git+file://..., path:FOLDER, hf:OWNER/NAME or pip:PACKAGE."
        ),
    ],
    rev: Annotated[str | None, typer.Option(metavar="R", help="Tag or commit of a git or Hub source.")] = None,
    folder: Annotated[str, typer.Option(metavar="DIR", help="Folder of the repository that holds the library.")] = "",
) -> None:
    """Declare a library in alignkit.toml, lock and copy it."""
    if complaint := configs.refused_name(name):
        raise LibraryError(complaint)
    root = configs.find_config().folder or Path.cwd()
    declared = configs.declare(name, {"source": _from(root, source), "rev": rev, "folder": folder})
    with stores.alone(root):
        changes = _added(root, name, declared)
    _tell(*(str(change) for change in changes if change.before != change.after))
    _tell(*(f"  {one.name}  {one.purpose}" for one in catalogue.entries(known.Libraries.here(), f"{name}:")))


@app.command(cls=Verb)
def sync(
    locked: Annotated[
        bool,
        typer.Option("--locked", help="Change no lock: stop when alignkit.toml and alignkit.lock disagree (for CI)."),
    ] = False,
) -> None:
    """Lock what is declared, and get every copy that is missing or not what the lock says."""
    with _changing() as config:
        _tell(*map(str, syncing.sync_locked(config) if locked else syncing.sync(config)))


@app.command(cls=Verb)
def update(
    name: Annotated[str | None, typer.Argument(help="One library; all without it.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="R", help="The tag or commit to take.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")] = False,
) -> None:
    """Resolve libraries anew; show what changes in each recipe, then write the lock."""
    with _changing() as config:
        _update(config, name, to, dry_run=dry_run)


def _update(config: Config, name: str | None, to: str | None, *, dry_run: bool) -> None:
    if to is not None and name is None:
        raise LibraryError("--to: names a version of one library; say which: alignkit library update NAME --to R")
    names = [_declared(config, name)] if name else sorted(config.libraries)
    if to is not None and config.libraries[names[0]].kind not in ("git", "hf"):
        raise LibraryError(f"--to: library {shown(name)} comes from a folder or a package, which have no revisions")
    changes = syncing.updated(config, names, to)
    before, after = (
        {change.name: side for change in changes if (side := getattr(change, part))} for part in ("before", "after")
    )
    bare = configs.Config(config.folder)
    old, new = known.Libraries(bare, before), known.Libraries(bare, after)
    for change in changes:
        _tell(str(change))
        if before != after and change.before and change.after:  # one as it was may extend one that is not
            _tell(*_update_of(change.name, old, new))
    for one in names:
        tags = fetching.newer(one, config.libraries[one]) if to is None else []
        if tags:
            _tell(f"{one}: later tags: {', '.join(tags[-5:])} (alignkit library update {one} --to {tags[-1]})")
    if dry_run:
        return
    if to is not None and to != config.libraries[names[0]].rev:
        configs.set_rev(config.root, names[0], to)
    locks.write_lock(config.root, after)


@app.command("list", cls=Verb)
def list_libraries() -> None:
    """List the libraries that recipes can name here, and whether their copies are what the lock says."""
    libraries = known.Libraries.here()
    for name in libraries.names:
        locked, declared = libraries.locked.get(name), libraries.config.libraries.get(name)
        try:
            libraries.folder(name)
            state = "" if name == known.SHIPPED else "; verified"
            version = libraries.version(name)
        except LibraryError as error:
            state, version = f"; {error}", locked.version if locked else "not locked"
        asked = "" if declared or not locked else "; another library needs it"
        where = f"; {locked.source}" if locked else f"; {declared.source}" if declared else ""
        _tell(f"{name}: {version}{where}{asked}{state}")


@app.command(cls=Verb)
def show(name: Name) -> None:
    """Show what a library says of itself, and its recipes."""
    libraries = known.Libraries.here()
    if name not in libraries.names:
        raise LibraryError(f"unknown library {shown(name)}; {registry.suggestion(name, libraries.names)}")
    said = libraries.description(name)
    _tell(f"{name} {libraries.version(name)}")
    about = {
        "licence": said.licence,
        "maintainers": ", ".join(said.maintainers),
        "needs plugins": ", ".join(said.plugins),
        "may extend": ", ".join(sorted(said.libraries)),
        "copy": str(libraries.folder(name)),
    }
    _tell(*(f"  {key}: {value}" for key, value in about.items() if value))
    _tell(*(f"  {one.name}  {one.said}" for one in catalogue.entries(libraries, f"{name}:")))


@app.command(cls=Verb)
def diff(
    name: Name,
    old: Annotated[str, typer.Argument(metavar="OLD", help="Tag, commit or version of a copy that is here.")],
    new: Annotated[str | None, typer.Argument(metavar="NEW", help="The same; the locked one without it.")] = None,
) -> None:
    """Say what two versions of a library do differently, recipe by recipe; exit code 1 if anything."""
    libraries = known.Libraries.here()
    _known(libraries, name)
    copies = [_copy(libraries, name, which) if which else libraries.folder(name) for which in (old, new)]
    before, after = (libraries.at(name, folder) for folder in copies)
    lines = _differences(name, before, after)
    _tell(*lines)
    if lines:
        raise typer.Exit(1)


@app.command(cls=Verb)
def verify(
    remote: Annotated[
        bool, typer.Option("--remote", help="Ask the sources too whether tags stand where the lock has them.")
    ] = False,
) -> None:
    """Check that lock and copies agree; exit code 2 if anything does not."""
    config = _config()
    locked = locks.read_lock(config.root)
    complaints = [*syncing.stale(config, locked)]
    for name, declared in config.libraries.items() if remote else ():
        try:
            if name in locked and locked[name].is_of(declared):
                syncing.refuse_moved(name, declared, locked[name])
        except LibraryError as error:
            complaints.append(str(error))
    if complaints:
        raise LibraryError("\n".join(complaints))
    _tell(f"ok: {len(locked)} libraries, {sum(one.files for one in locked.values())} files")


@app.command(cls=Verb)
def vendor() -> None:
    """Copy the locked libraries to vendor/alignkit/, to be committed: for machines without a network."""
    with _changing() as config:
        libraries = known.Libraries.here()
        for name, locked in libraries.locked.items():
            content = contents.read_folder(libraries.folder(name), name)
            stores.keep(config.root, name, locked, content, stores.VENDORED)
            _tell(f"{name}: {stores.VENDORED / f'{name}@{locked.key}'}")
        _tell(
            *(f"{copy}: removed, not locked any more" for copy in stores.prune_vendored(config.root, libraries.locked))
        )


@app.command(cls=Verb)
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The library: the folder that holds library.toml.")],
    smoke: Annotated[bool, typer.Option(help="Run each whole recipe for two steps on the built-in world.")] = True,
) -> None:
    """Check a library before it is shared: description, heads, recipes; two steps of each on the built-in world."""
    found = [*authoring.checked(folder, smoke=smoke)]
    for one in found:
        _tell(f"{one.level}: {one.where}: {one.message}" if one.message else f"{one.level}: {one.where}")
    if any(one.level == "error" for one in found):
        raise typer.Exit(1)


@app.command(cls=Verb)
def sign(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The library: the folder that holds library.toml.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="Private ssh key; for one in an agent, its public file.")],
) -> None:
    """Sign a library's files with an ssh key; projects whose alignkit.toml has allowed_signers take no others."""
    content = contents.read_folder(folder, str(folder))
    contents.describe(content, str(folder))
    signature = signing.sign(content, key, str(folder))
    records.write_bytes(folder / contents.SIGNATURE, signature)
    _tell(f"{folder / contents.SIGNATURE}: signed {len(content)} files; commit it with them")


def _from(root: Path, source: str) -> str:
    """A source as alignkit.toml in `root` names it: folders are given from the working folder."""
    kind, _, place = source.partition(":")
    if kind != "path" or root == Path.cwd() or Path(place).expanduser().is_absolute():
        return source
    return f"path:{Path(os.path.relpath(place, root)).as_posix()}"


def _added(root: Path, name: str, declared: Declared) -> list[Change]:
    """Locks and copies a library, and declares it when that went well."""
    config = configs.find_config(root)
    if name in config.libraries:
        message = (
            f"library {shown(name)} is declared already; alignkit library update {name} --to REV gives another version"
        )
        raise LibraryError(f"{root / configs.FILE}: {message}")
    text = configs.with_declared(root, name, declared)
    changes = syncing.sync(replace(config, folder=root, libraries={**config.libraries, name: declared}))
    records.write_text(root / configs.FILE, text)
    return changes


def _config() -> Config:
    config = configs.find_config()
    if config.folder is None:
        raise LibraryError(f"no {configs.FILE} in this folder or above; 'alignkit library add NAME SOURCE' makes one")
    return config


@contextmanager
def _changing() -> Iterator[Config]:
    """alignkit.toml, which no other process of ours changes meanwhile, nor lock and copies."""
    root = _config().root
    with stores.alone(root):
        yield configs.read_config(root)


def _declared(config: Config, name: str) -> str:
    if name not in config.libraries:
        known_names = sorted(config.libraries)
        raise LibraryError(f"library {shown(name)} is not declared; {registry.suggestion(name, known_names)}")
    return name


def _known(libraries: Libraries, name: str) -> None:
    names = sorted(libraries.locked)
    if name not in names:
        raise LibraryError(f"library {shown(name)} is not locked; {registry.suggestion(name, names)}")


def _copy(libraries: Libraries, name: str, which: str) -> Path:
    """The copy that is here of a version."""
    copies = stores.kept(libraries.config.root, name)
    for folder, one in copies.items():
        if which in (one.version, one.rev, folder.name.partition("@")[2]) or (
            len(which) > 6 and one.commit.startswith(which)
        ):
            return folder
    have = ", ".join(filter(None, (one.rev or one.version for one in copies.values()))) or "none"
    raise LibraryError(f"{name}: no copy of {shown(which)} is here; here are: {printable(have)}; 'update' gets another")


def _update_of(name: str, old: Libraries, new: Libraries) -> list[str]:
    try:
        old.folder(name)
    except LibraryError:
        return [f"  {name}: its former copy is not here, so what changes cannot be told"]
    return _differences(name, old, new)


def _differences(name: str, old: Libraries, new: Libraries) -> list[str]:
    return [f"  {recipe}: {line}" for recipe, lines in catalogue.changed_recipes(name, old, new) for line in lines]


def _tell(*lines: str) -> None:
    for line in lines:
        typer.echo(printable(line, LINE_LENGTH))
