"""`alignkit plugins`: packages and trusted files that bring components; what may run is said here and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli.usage import Verb, Verbs
from alignkit.errors import LINE_LENGTH, printable
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.declared as declaring
    import alignkit.entry_points as entry_points
    import alignkit.trusted as trusted
else:
    declaring = LazyModule("alignkit.declared")
    entry_points = LazyModule("alignkit.entry_points")
    trusted = LazyModule("alignkit.trusted")

app = typer.Typer(cls=Verbs, help="List plugins; trust or distrust a file or folder of Python as one.")

Plugin = Annotated[Path, typer.Argument(metavar="PATH", help="A .py file, or a folder of them.")]


@app.callback(invoke_without_command=True)
def plugins(context: typer.Context) -> None:
    """List plugins; trust or distrust a file or folder of Python as one."""
    if context.invoked_subcommand is None:
        list_plugins()


@app.command("list", cls=Verb)
def list_plugins() -> None:
    """List installed packages and trusted files that bring components; nothing of them is imported."""
    for line in [*_packages(), *_files()] or ["no plugins"]:
        typer.echo(printable(line, LINE_LENGTH))


@app.command("trust", cls=Verb)
def trust(
    path: Plugin,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Let the Python of a file or folder run on this machine, as it is now, when a recipe names its components.

    Path and content are remembered for you: a change of the content asks again. Nothing is run to find the names.
    """
    path = path.resolve()
    files = trusted.read_files(path)
    components, digest = declaring.declared(path, files), trusted.digest(files)
    store = trusted.read_store()
    entry = trusted.Entry(sha256=digest, components=components)
    if store.plugins.get(str(path)) == entry:
        typer.echo(f"{printable(str(path))} is trusted already")
        return
    for line in _shown(path, files, entry, is_change=str(path) in store.plugins):
        typer.echo(printable(line, LINE_LENGTH))
    if not yes:
        _ask(path)
    trusted.write_store(trusted.Store(plugins={**store.plugins, str(path): entry}))
    typer.echo(f"trusted {printable(str(path))}")


@app.command("untrust", cls=Verb)
def untrust(path: Plugin) -> None:
    """Let the Python of a file or folder run no more."""
    store = trusted.read_store()
    named = next((name for name in (str(path.absolute()), str(path.resolve())) if name in store.plugins), None)
    if named is None:
        known = ", ".join(map(printable, store.plugins)) or "none"
        raise trusted.TrustError(f"{printable(str(path))} is not trusted; trusted: {known}")
    rest = {name: entry for name, entry in store.plugins.items() if name != named}
    trusted.write_store(trusted.Store(plugins=rest))
    typer.echo(f"no longer trusted: {printable(named)}")


def _ask(path: Path) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise trusted.TrustError(f"{printable(str(path))}: no terminal to ask at; look at the files and add --yes")
    typer.confirm("Let this code run with your rights when a recipe names one of these?", abort=True)


def _shown(path: Path, files: dict[str, bytes], entry: trusted.Entry, *, is_change: bool) -> Iterator[str]:
    """What a user should know before saying yes."""
    yield f"{path}{' changed since it was trusted' if is_change else ''}"
    yield from (f"  {name}  {len(content):,} bytes" for name, content in files.items())
    yield f"  brings {_brought(entry.components)}"
    yield f"  sha256 {entry.sha256}"


def _packages() -> Iterator[str]:
    found: dict[str, trusted.Components] = {}
    for point in entry_points.installed():
        package = " ".join(entry_points.package_of(point) or ("a package without a name",))
        kinds = found.setdefault(package, {})
        kinds.setdefault(point.group.removeprefix("alignkit."), {})[point.name] = point.value
    yield from (f"{package}: {_brought(kinds)}" for package, kinds in sorted(found.items()))
    yield from (f"{folder}: its entry points cannot be read" for folder in entry_points.unreadable())


def _files() -> Iterator[str]:
    for name, entry in trusted.read_store().plugins.items():
        complaint = trusted.state(Path(name), entry)
        yield f"{name}: {_brought(entry.components)}" + (f"; not loaded: {complaint}" if complaint else "; trusted")


def _brought(components: trusted.Components) -> str:
    """`weighting last_two; loss mine, other`."""
    return "; ".join(f"{kind} {', '.join(sorted(names))}" for kind, names in sorted(components.items()))
