"""`alignkit describe`: a component with its formula, paper and parameters; a section, or one of its keys."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alignkit.cli import completion
from alignkit.cli.listing import list_lines
from alignkit.errors import RecipeError, shown
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.recipe.describe as describing
    import alignkit.recipe.kinds as kinds
    import alignkit.recipe.users as users
    import alignkit.registry as registries
    from alignkit.registry import Registry, Section
else:
    describing = LazyModule("alignkit.recipe.describe")
    kinds = LazyModule("alignkit.recipe.kinds")
    registries = LazyModule("alignkit.registry")
    users = LazyModule("alignkit.recipe.users")


def describe(
    kind: Annotated[
        str,
        typer.Argument(
            help="A kind of component (weighting, loss, model, ...), a section (data, training, evaluation, adapter, "
            "...), or a key of either, such as training.betas.",
            autocompletion=completion.subjects,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(
            help="A name that `alignkit list KIND` shows, or a key of the section.", autocompletion=completion.names
        ),
    ] = None,
) -> None:
    """Explain a component (idea, formula, paper, parameters, needs, source, recipes), a section, or one key."""
    if kind == "section" and name is not None:
        kind, name = name, None
    typer.echo("\n\n".join(block for block in _blocks(kind, name) if block))


def _blocks(kind: str, name: str | None) -> Iterator[str]:
    if (registry := kinds.slot_of(kind)) is not None:
        yield from _kind(registry) if name is None else _component(registry, name)
    elif (found := kinds.section_of(kind)) is not None:
        yield from _section(*found, name)
    else:
        outer, _, key = kind.rpartition(".")
        owner = kinds.slot_of(outer)
        found = (outer, owner.base) if owner else kinds.section_of(outer)
        if name is not None or found is None:
            raise kinds.unknown_subject(kind)
        yield from _section(*found, key)


def _component(registry: Registry[Any], name: str) -> Iterator[str]:
    if name in registry.base.model_fields and name not in registry.names():
        yield from _section(registry.kind, registry.base, name)  # a key that all of a kind have
        return
    cls: type[Any] = registry.get(name)
    file, _, line = registry.source(name).rpartition(":")
    place = os.path.relpath(file) if os.path.isfile(file) else file
    needs = describing.needs_of(registry, name)
    yield f"{registry.kind} {name}"
    yield inspect.getdoc(cls) or ""
    yield _parameters(cls)
    yield f"Needs: {needs}" if needs else ""
    yield f"Source: {place}:{line}"
    yield f"Used by: {users.used_by(registry, name)}" if registry.kind in kinds.KINDS else ""


def _kind(registry: Registry[Any]) -> Iterator[str]:
    yield registry.kind
    common = list(describing.parameters(registry.base))
    yield "\n".join([f"Parameters of every {registry.kind}:", *common]) if common else ""
    yield "\n".join(["Names:", *(f"  {line}" for line in list_lines(registry))])


def _section(path: str, cls: type[Section], key: str | None) -> Iterator[str]:
    if key is None:
        yield f"section {path}"
        yield inspect.getdoc(cls) or ""
        yield _parameters(cls)
    elif key in cls.model_fields:
        yield f"key {path}.{key}"
        yield "\n".join(describing.parameters(cls, key))
    else:
        raise RecipeError(f"unknown key {shown(key)} of {path}; {registries.suggestion(key, list(cls.model_fields))}")


def _parameters(cls: type[Section]) -> str:
    found = list(describing.parameters(cls))
    return "\n".join(["Parameters:", *found]) if found else "Parameters: none"
