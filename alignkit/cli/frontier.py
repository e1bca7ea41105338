"""`alignkit frontier`: reward against KL for each method of a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import rich.console as consoles

    import alignkit.frontier.frontier as frontiers
    import alignkit.frontier.numbers as all_numbers
    import alignkit.frontier.show as showing
    import alignkit.page as pages
    import alignkit.records.files as records
else:
    consoles = LazyModule("rich.console")
    all_numbers = LazyModule("alignkit.frontier.numbers")
    frontiers = LazyModule("alignkit.frontier.frontier")
    pages = LazyModule("alignkit.page")
    records = LazyModule("alignkit.records.files")
    showing = LazyModule("alignkit.frontier.show")


def frontier(
    folder: Annotated[Path, typer.Argument(metavar="SWEEP_FOLDER", help="What alignkit sweep wrote.")],
    reward: Annotated[str, typer.Option(help="The measure of sampled responses that should be large.")] = "true_reward",
    cost: Annotated[str, typer.Option(help="The one that it is paid with.")] = "kl",
    base: Annotated[
        str | None, typer.Option(metavar="ARM", help="What the others are compared with; the first arm by default.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page; by default frontier.html in the folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON and nothing else.")] = False,
) -> None:
    """Draw reward against KL for each method of a sweep, and say which is better and whether that is noise.

    Beside the page go its drawing (.svg) and all numbers (.json).
    """
    found = frontiers.frontier_of(folder, reward, cost, base)
    path = output or folder / "frontier.html"
    files = [path, path.with_suffix(".svg"), path.with_suffix(".json")]
    numbers = all_numbers.as_json(found)
    pages.write(path, showing.page(found, folder.resolve().name))
    records.write_text(files[1], pages.svg_file(showing.drawing(found)))
    records.write_json(files[2], numbers)
    if as_json:
        typer.echo(json.dumps(numbers, indent=2))
    else:
        showing.show(consoles.Console(), found, files)
