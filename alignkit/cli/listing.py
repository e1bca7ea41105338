"""`alignkit list`: the components that a recipe can name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.recipe.kinds as kinds
    from alignkit.registry import Registry
else:
    kinds = LazyModule("alignkit.recipe.kinds")


def list_components(
    kind: Annotated[
        str | None,
        typer.Argument(help="weighting, pair_weighting, loss, trainer, anchor, contrast or model; default all."),
    ] = None,
) -> None:
    """List the components that a recipe can name, plugins included."""
    if kind:
        typer.echo("\n".join(_lines(kinds.registry_of(kind))))
        return
    sections = [[kinds.plural(name), *(f"  {line}" for line in _lines(found))] for name, found in kinds.KINDS.items()]
    typer.echo("\n\n".join("\n".join(lines) for lines in sections))


def _lines(registry: Registry[Any]) -> list[str]:
    """One line per component: its name and the first sentence about it."""
    known = registry.classes()
    width = max(map(len, registry.names()))
    sentences = {name: first_sentence(cls) for name, cls in known.items()}
    return [f"{name:<{width}}  {sentences.get(name) or _from_plugin(registry, name)}" for name in registry.names()]


def _from_plugin(registry: Registry[Any], name: str) -> str:
    """Plugins are listed without being imported."""
    return f"Plugin {registry.owner(name)}."


def first_sentence(cls: type) -> str:
    """The first sentence of a class's docstring."""
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split()).split(". ")[0]
