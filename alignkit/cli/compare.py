"""`alignkit compare`: runs against each other, item by item, with intervals."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import rich.console as consoles

    import alignkit.compare.differences as differences
    import alignkit.compare.html as pages
    import alignkit.compare.show as showing
    import alignkit.page as page
else:
    consoles = LazyModule("rich.console")
    differences = LazyModule("alignkit.compare.differences")
    pages = LazyModule("alignkit.compare.html")
    page = LazyModule("alignkit.page")
    showing = LazyModule("alignkit.compare.show")


class Moment(StrEnum):
    """Of a run."""

    before = "before"
    after = "after"


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN RUN...",
            help="Folders of alignkit run or evaluate, the base of all first; NAME=RUN,RUN for seeds of a method.",
        ),
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option(metavar="M", help="Compare this one only; may be given repeatedly.")
    ] = None,
    moment: Annotated[Moment, typer.Option(help="Of runs: before or after training.")] = Moment.after,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page too.")] = None,
) -> None:
    """Say which run is better and whether that is noise: paired differences with intervals, on the same prompts."""
    found = differences.compare(runs or [], measure or [], moment.value, level)
    if html is not None:
        page.write(html, pages.html(found))
    if json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        showing.show(consoles.Console(), found)
