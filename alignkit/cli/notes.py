"""What a user should know beside what was asked for, told on stderr."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from alignkit.errors import LINE_LENGTH, printable

if TYPE_CHECKING:
    from alignkit.recipe.load import LoadedRecipe
    from alignkit.recipe.pipeline import LoadedPipeline


def tell(*recipes: LoadedRecipe | LoadedPipeline) -> None:
    """Tells the notes of recipes."""
    note(line for loaded in recipes for line in loaded.notes)


def note(lines: Iterable[str]) -> None:
    """Tells each line once."""
    for line in dict.fromkeys(lines):
        typer.echo(printable(f"note: {line}", LINE_LENGTH), err=True)
