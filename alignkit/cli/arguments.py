"""Arguments that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli import completion

if TYPE_CHECKING:
    from alignkit.rewards.permission import Permission

RecipeFile = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe file (YAML), or alignkit:NAME for a shipped one.",
        autocompletion=completion.recipes,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one value, such as losses.0.beta=0.5; may be given repeatedly.",
        autocompletion=completion.overrides,
    ),
]
ExecuteCode = Annotated[
    bool,
    typer.Option("--execute-code", help="Let rewards and benchmarks run code that the model writes, in a sandbox."),
]
WithoutSandbox = Annotated[
    bool,
    typer.Option(
        "--execute-code-without-sandbox", help="The same where this machine has no sandbox: as you, unconfined."
    ),
]


def leave(execute_code: bool, without_sandbox: bool) -> Permission:
    """What the two options say of code that the model writes."""
    return "bare" if without_sandbox else "sandbox" if execute_code else "none"
