"""What is said about a command line that cannot be read, and how flags look in `--help`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from alignkit.errors import AlignkitError, printable, shown
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.recipe.other_names as other_names
    import alignkit.recipe.parts as parts
    import alignkit.recipe.recipe as recipes
    import alignkit.recipe.tree as tree
    import alignkit.registry as registry
else:
    other_names = LazyModule("alignkit.recipe.other_names")
    parts = LazyModule("alignkit.recipe.parts")
    recipes = LazyModule("alignkit.recipe.recipe")
    tree = LazyModule("alignkit.recipe.tree")
    registry = LazyModule("alignkit.registry")

Mistake: type[Exception] = typer.BadParameter.__mro__[1]  # Click's UsageError, in whichever package Typer has it

_SETTING = re.compile(r"[\w.]+=.*", re.DOTALL)
_RECIPE_OPTIONS = ("--config", "-c", "--config-file", "--config_file", "--recipe", "-r", "--file", "-f", "--yaml")
_RUN_OPTIONS = ("--set", "--output", "--resume", "--dry-run", "--execute-code", "--execute-code-without-sandbox")
_VERBS = {
    "train": "run",
    "fit": "run",
    "start": "run",
    "resume": "run RECIPE --resume",
    "eval": "evaluate",
    "estimate": "plan",
    "check": "validate",
    "lint": "validate",
    "test": "validate",
    "print": "show",
    "config": "show",
    "ls": "list",
    "info": "describe",
    "explain": "describe",
    "upgrade": "migrate",
    "update": "migrate",
    "convert": "migrate",
    "jsonschema": "schema",
    "completion": "--install-completion",
    "generate": "sample",
    "chat": "sample",
    "upload": "push",
    "version": "--version",
    "help": "--help",
}
"""What others call our verbs -> ours."""


class UsageError(AlignkitError, ValueError):
    """The command line cannot be read."""


def _without_values(params: list[Any]) -> list[Any]:
    """Flags take no value, whatever Typer would show after them."""
    for param in params:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params


class Verb(TyperCommand):
    """A verb of the command line."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 -- Click's or Typer's own context
        return _without_values(super().get_params(ctx))


class Verbs(TyperGroup):
    """All verbs."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 -- Click's or Typer's own context
        return _without_values(super().get_params(ctx))


def help_of(mistake: Any) -> str:  # noqa: ANN401 -- a `Mistake`
    """The help of the command that it was made in."""
    return str(mistake.ctx.get_help())


def said_of(mistake: Any, arguments: Sequence[str], verbs: Sequence[str]) -> UsageError:  # noqa: ANN401 -- a `Mistake`
    """One line about a command line that Typer refused, with what was probably meant.

    Args:
        mistake: what Typer raised.
        arguments: the command line.
        verbs: names of the commands.
    """
    verb = next((argument for argument in arguments if not argument.startswith("-")), None)
    if verb is not None and verb not in verbs:
        return UsageError(f"unknown command {shown(verb)}; {_meant_verb(verb, verbs)}")
    option = getattr(mistake, "option_name", None) if hasattr(mistake, "possibilities") else None
    message = f"no such option {option}" if option else mistake.format_message().strip().rstrip(".")
    where = f"alignkit {verb}" if verb else "alignkit"
    hint = _hint(option, mistake, arguments, verb or "run") or f"see {where} --help"
    return UsageError(f"{where}: {printable(message[:1].lower() + message[1:], 400)}; {hint}")


def _meant_verb(verb: str, verbs: Sequence[str]) -> str:
    if verb in _VERBS:
        return f"did you mean {_VERBS[verb]}? known: {', '.join(verbs)}"
    if verb.endswith((".yaml", ".yml")):
        return f"to train what a recipe says: alignkit run {printable(verb)}"
    return str(registry.suggestion(verb, list(verbs)))


def _hint(option: str | None, mistake: Any, arguments: Sequence[str], verb: str) -> str | None:  # noqa: ANN401
    if verb == "launch" and option in _RUN_OPTIONS:
        return f"what is for alignkit run comes after --, such as: alignkit launch RECIPE -- {option}"
    if option in _RECIPE_OPTIONS:
        return f"give the recipe as an argument: alignkit {verb} RECIPE"
    if option and (key := _recipe_key(option)):
        return f"set values of the recipe with --set {key}=VALUE"
    if option and mistake.possibilities:
        return f"did you mean {mistake.possibilities[0]}?"
    previous = ["", *arguments]
    settings = [
        now for before, now in zip(previous, arguments, strict=False) if before != "--set" and _SETTING.fullmatch(now)
    ]
    return f"set values of the recipe with --set {printable(settings[0])}" if settings and not option else None


def _recipe_key(option: str) -> str | None:
    """The key of a recipe that an option stands for, if it is like one."""
    name = option.lstrip("-").replace("-", "_")
    if name in other_names.CALLED:
        return str(other_names.CALLED[name])
    found = [part for part in parts.parts(recipes.Recipe, None) if name.rpartition(".")[2] in part.cls.model_fields]
    paths = [tree.dotted((*part.path, name.rpartition(".")[2])) for part in found]
    return next((path for path in paths if name in (path, path.rpartition(".")[2])), None)
