"""The command line: one short module per verb.

Only typer is imported here and in the verbs. The rest of alignkit is loaded by the verb that needs it, torch by the
run itself, so that `--help` and `validate` answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

from alignkit import __version__
from alignkit.cli import (
    check_component,
    compare,
    completion,
    describe,
    diff,
    doctor,
    evaluate,
    frontier,
    inspect,
    launch,
    library,
    listing,
    merge,
    migrate,
    new,
    plan,
    plugins,
    push,
    recipes,
    reproduce,
    run,
    sample,
    schema,
    show,
    sweep,
    validate,
)
from alignkit.cli.usage import Mistake, Verb, Verbs, help_of, said_of
from alignkit.errors import LINE_LENGTH, AlignkitError, printable

app = typer.Typer(
    name="alignkit",
    cls=Verbs,
    help="Preference alignment from a recipe, where you choose which tokens carry the preference.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback is a bug of ours and should look like one
)
app.command("run", cls=Verb)(run.run)
app.command("launch", cls=Verb)(launch.launch)
app.command("reproduce", cls=Verb)(reproduce.reproduce)
app.command("plan", cls=Verb)(plan.plan)
app.command("sweep", cls=Verb)(sweep.sweep)
app.command("evaluate", cls=Verb)(evaluate.evaluate)
app.command("inspect", cls=Verb)(inspect.inspect)
app.command("frontier", cls=Verb)(frontier.frontier)
app.command("sample", cls=Verb)(sample.sample)
app.command("merge", cls=Verb)(merge.merge)
app.command("push", cls=Verb)(push.push)
app.command("validate", cls=Verb)(validate.validate)
app.command("doctor", cls=Verb)(doctor.doctor)
app.command("show", cls=Verb)(show.show)
app.command("diff", cls=Verb)(diff.diff)
app.command("list", cls=Verb)(listing.list_components)
app.command("compare", cls=Verb)(compare.compare)
app.command("describe", cls=Verb)(describe.describe)
app.command("schema", cls=Verb)(schema.schema)
app.command("migrate", cls=Verb)(migrate.migrate)
app.command("recipes", cls=Verb)(recipes.recipes)
app.command("copy", cls=Verb)(recipes.copy)
app.command("check-component", cls=Verb)(check_component.check_component)
app.add_typer(new.app, name="new")
app.add_typer(library.app, name="library")
app.add_typer(plugins.app, name="plugins")


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


def _verbs() -> list[str]:
    return [str(one.name) for one in app.registered_commands] + [str(group.name) for group in app.registered_groups]


def main(arguments: Sequence[str] | None = None) -> None:
    """The `alignkit` command; a user's mistake ends it with one line per problem and its exit code, no traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an encoding without a character is no reason to stop
    if completion.VARIABLE in os.environ:
        sys.exit(completion.answer(app))
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            code = app(args=given, prog_name="alignkit", standalone_mode=False)
        except Mistake as mistake:
            if not given:  # not a mistake: `alignkit` alone asks what there is
                typer.echo(help_of(mistake))
                sys.exit(2)
            raise said_of(mistake, given, _verbs()) from None
        sys.exit(code or 0)
    except typer.Abort:
        sys.exit(1)
    except AlignkitError as error:
        for line in str(error).split("\n"):
            typer.echo(printable(line, LINE_LENGTH), err=True)
        sys.exit(error.exit_code)
