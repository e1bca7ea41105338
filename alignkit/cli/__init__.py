"""The command line: one short module per verb.

Only typer is imported here and in the verbs. The rest of alignkit is loaded by the verb that needs it, torch by the
run itself, so that `--help` and `validate` answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

from alignkit import __version__
from alignkit.cli import describe, listing, run, schema, show, validate
from alignkit.errors import LINE_LENGTH, AlignkitError, printable

app = typer.Typer(
    help="Preference alignment from a recipe, where you choose which tokens carry the preference.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback is a bug of ours and should look like one
)
app.command("run")(run.run)
app.command("validate")(validate.validate)
app.command("show")(show.show)
app.command("list")(listing.list_components)
app.command("describe")(describe.describe)
app.command("schema")(schema.schema)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"alignkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the verb."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The `alignkit` command; a user's mistake ends it with one line per problem and its exit code, no traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an encoding without a character is no reason to stop
    try:
        app(args=arguments)
    except AlignkitError as error:
        for line in str(error).split("\n"):
            typer.echo(printable(line, LINE_LENGTH), err=True)
        sys.exit(error.exit_code)
