"""What files say of themselves and users should know, told on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from alignkit.errors import LINE_LENGTH, printable

if TYPE_CHECKING:
    from alignkit.recipe.load import LoadedRecipe


def tell(*recipes: LoadedRecipe) -> None:
    """Tells the notes of recipes, each once."""
    for note in dict.fromkeys(note for loaded in recipes for note in loaded.notes):
        typer.echo(printable(f"note: {note}", LINE_LENGTH), err=True)
