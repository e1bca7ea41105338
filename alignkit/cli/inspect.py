"""`alignkit inspect`: what a run's tokens weigh and how training moved them, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli import completion
from alignkit.cli.arguments import Overrides
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.inspection as inspection
else:
    inspection = LazyModule("alignkit.inspection")


def inspect(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|RECIPE",
            help="A run folder, or a recipe, whose start model is shown.",
            autocompletion=completion.recipes,
        ),
    ],
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows shown; more than a run recorded are computed from its model.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Show the rows of this file, not the held-out ones.")
    ] = None,
    lexicon: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Terms of the safety audit, one a line; default alignkit's own.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The page; default inspect.html, of a run in its folder."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Write one HTML file that shows token weights and log-probs, row by row and over all rows; it opens offline."""
    target = inspection.inspect(what, output, inspection.Wish(rows, data, lexicon), overrides or ())
    typer.echo(f"page: {target} ({target.stat().st_size / 1000:,.0f} kB)")
