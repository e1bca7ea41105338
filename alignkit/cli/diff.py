"""`alignkit diff`: what two recipes, or runs, do differently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli import completion
from alignkit.cli.notes import tell
from alignkit.errors import LINE_LENGTH, printable
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.libraries.known as known
    import alignkit.recipe.compare as comparing
    import alignkit.recipe.pipeline as load
else:
    known = LazyModule("alignkit.libraries.known")
    comparing = LazyModule("alignkit.recipe.compare")
    load = LazyModule("alignkit.recipe.pipeline")

Compared = Annotated[
    Path,
    typer.Argument(
        help="A recipe (YAML), alignkit:NAME for a shipped one, or a run folder.", autocompletion=completion.recipes
    ),
]


def diff(first: Compared, second: Compared) -> None:
    """Say what two recipes do differently, one value a line with who set it; exit code 1 if anything.

    Defaults are filled in and `extends` is merged before: what is told is what a run would do differently. Files that
    values such as path:NAME stand for need not be here.
    """
    libraries = replace(known.Libraries.here(), symbolic=True)
    one, other = (load.load(_recipe_of(path), libraries=libraries) for path in (first, second))
    tell(one, other)
    found = list(comparing.compare(one, other))
    for line in found:
        typer.echo(printable(str(line), LINE_LENGTH))
    if found:
        raise typer.Exit(1)


def _recipe_of(path: Path) -> Path:
    """The recipe that a run folder recorded, or the path itself."""
    recorded = path / "recipe.yaml"
    return recorded if recorded.is_file() else path
