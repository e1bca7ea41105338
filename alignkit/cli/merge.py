"""`alignkit merge`: an adapter into its base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alignkit.errors import printable
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.quiet as quiet
    import alignkit.use.merge as merging
else:
    merging = LazyModule("alignkit.use.merge")
    quiet = LazyModule("alignkit.quiet")


def merge(
    adapter: Annotated[
        str, typer.Argument(metavar="RUN", help="A run that trained an adapter, or an adapter: a folder or a Hub id.")
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="The folder to make.")],
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="Number format to merge in; auto is the one the base is stored in."),
    ] = "auto",
) -> None:
    """Merge an adapter into its base model: a model that needs neither."""
    with quiet.quiet_libraries():
        merged = merging.merge(adapter, output, dtype)
    typer.echo(printable(f"{output}: {merged}", limit=None))
