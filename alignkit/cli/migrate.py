"""`alignkit migrate`: brings older recipe files up to date."""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli import completion
from alignkit.errors import RecipeError, printable
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.libraries.known as known
    import alignkit.recipe.migrate as migrating
else:
    known = LazyModule("alignkit.libraries.known")
    migrating = LazyModule("alignkit.recipe.migrate")


def migrate(
    recipes: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Recipe files (YAML), rewritten in place.", autocompletion=completion.recipes
        ),
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing: print what would change, exit code 1 if anything.")
    ] = False,
) -> None:
    """Rewrite older recipe files with the keys of today; comments, order and layout stay.

    A file that does not say which schema it is written for gets the line that does.
    """
    libraries, problems, found = known.Libraries.here(), [], []
    for path in recipes:
        try:
            found.append(migrating.migrate(path, libraries))
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(dict.fromkeys(problems))  # and no file is changed
    for one in found:
        if check:
            _show(one)
        else:
            one.write() if one.changes else None
            typer.echo(f"{printable(str(one.path))}: {', '.join(one.changes) or 'nothing to do'}")
    if check and any(one.changes for one in found):
        raise typer.Exit(1)


def _show(one: migrating.Migration) -> None:
    """What would change, as `diff -u` has it."""
    name = str(one.path)
    for line in unified_diff(one.before.splitlines(), one.after.splitlines(), name, f"{name} migrated", lineterm=""):
        typer.echo(printable(line, limit=None))
