"""`alignkit recipes`: the recipes of all libraries; `alignkit copy`: one of them as the start of one's own."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli import completion
from alignkit.errors import LINE_LENGTH, RecipeError, printable, shown
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.libraries.known as known
    import alignkit.recipe.catalogue as catalogue
    import alignkit.recipe.files as files
    import alignkit.recipe.render as rendering
    import alignkit.records.files as records
else:
    known = LazyModule("alignkit.libraries.known")
    catalogue = LazyModule("alignkit.recipe.catalogue")
    files = LazyModule("alignkit.recipe.files")
    rendering = LazyModule("alignkit.recipe.render")
    records = LazyModule("alignkit.records.files")


def recipes(
    pattern: Annotated[str, typer.Argument(help="Part of a name or purpose; all recipes without it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """List the recipes of all libraries: name, purpose, what they need."""
    found = list(catalogue.entries(known.Libraries.here(), pattern))
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        typer.echo(printable(f"{one.name:<{width}}  {one.said}", LINE_LENGTH))


def copy(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe of a library, such as alignkit:tidpo, or a file.",
            autocompletion=completion.recipes,
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; an existing one is left alone.")],
    flat: Annotated[bool, typer.Option("--flat", help="Write all values instead of extending the recipe.")] = False,
) -> None:
    """Start a recipe of one's own: a file that extends another one, so that later versions of that arrive."""
    libraries = known.Libraries.here()
    read = files.read_recipe_tree(recipe, libraries)
    if read.problems:
        raise RecipeError(read.problems)
    source = read.files[0]
    name = source.name if source.library else _beside(target, recipe)
    version = f"@{libraries.description(source.library).version}" if source.library else ""
    purpose = catalogue.purpose_of(catalogue.comments_of(source.path))
    head = [purpose or target.name, f"from {name}{version}", f"alignkit run {target}"]
    requires = list(dict.fromkeys(one for header in read.headers for one in header.requires))
    values = {**({"requires": requires} if requires else {}), **read.root.plain()}
    body = rendering.render(values, {}) if flat else f"extends: {rendering.scalar(name)}\n"
    text = "".join(f"# {printable(line, LINE_LENGTH)}\n" for line in head) + body
    if target.exists() or target.is_symlink():
        raise RecipeError(f"{target}: is there already; give another name")
    records.write_text(target, text)
    typer.echo(f"{target}: {'all values of' if flat else 'extends'} {shown(name)}; run it with alignkit run {target}")


def _beside(target: Path, recipe: Path) -> str:
    """The recipe's path as a file at `target` names it."""
    return Path(os.path.relpath(recipe.absolute(), target.absolute().parent)).as_posix()
