"""`alignkit check-component`: whether components keep what their kind promises."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli import completion
from alignkit.errors import RecipeError, printable, shown
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.conformance.kit as kit
    import alignkit.conformance.parts as parts
    import alignkit.quiet as quiet
    import alignkit.recipe.kinds as kinds
    import alignkit.registry as registries
    from alignkit.registry import Component
else:
    kinds = LazyModule("alignkit.recipe.kinds")
    kit = LazyModule("alignkit.conformance.kit")
    parts = LazyModule("alignkit.conformance.parts")
    quiet = LazyModule("alignkit.quiet")
    registries = LazyModule("alignkit.registry")


def check_component(
    component: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH",
            help="A name that `alignkit list` shows; or a .py file or the folder of a plugin, whose code is then run.",
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Its kind, where components of several kinds have the name.",
            autocompletion=completion.kinds_of_components,
        ),
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the component; may be given repeatedly."),
    ] = None,
) -> None:
    """Check whether a component keeps what its kind promises: shapes, masks, padding, gradients, repeatability, ...

    It runs on made-up scores and the built-in world; exit code 1 where a promise is broken.
    """
    classes = parts.classes_at(Path(component)) if _is_path(component) else _named(component, kind)
    is_broken = False
    with quiet.quiet_libraries():
        for name, cls in classes.items():
            found = kit.outcomes(parts.built(name, cls, parameters or ()))
            is_broken |= any(outcome.problems for outcome in found)
            typer.echo("\n".join(_lines(f"{kit.kind_of_class(cls)} {name}", found)))
    if is_broken:
        raise typer.Exit(1)


def _is_path(given: str) -> bool:
    known = any(given in registry.names() for registry in kinds.KINDS.values())
    return given.endswith(".py") or os.sep in given or (os.path.isdir(given) and not known)


def _named(name: str, kind: str | None) -> Mapping[str, type[Component]]:
    found = [kinds.registry_of(kind)] if kind else [one for one in kinds.KINDS.values() if name in one.names()]
    if len(found) > 1:
        raise RecipeError(f"{shown(name)} is {' and '.join(one.one for one in found)}; add --kind")
    if not found:
        known = sorted({known for registry in kinds.KINDS.values() for known in registry.names()})
        raise RecipeError(f"no component is called {shown(name)}; {registries.suggestion(name, known)}")
    return {name: found[0].get(name)}


def _lines(title: str, outcomes: Sequence[kit.Outcome]) -> Iterator[str]:
    yield title
    for outcome in outcomes:
        yield f"  {'broken' if outcome.problems else 'ok'}: it {printable(outcome.promise)}"
        yield from (f"    {printable(problem, 1000)}" for problem in outcome.problems)
