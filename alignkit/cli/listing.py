"""`alignkit list`: the components that a recipe can name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from alignkit.cli import completion
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.recipe.describe as describing
    import alignkit.recipe.kinds as kinds
    from alignkit.registry import Registry
else:
    describing = LazyModule("alignkit.recipe.describe")
    kinds = LazyModule("alignkit.recipe.kinds")


def list_components(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="weighting, pair_weighting, loss, trainer, anchor, contrast, statistic, model, source, measure or "
            "check; all.",
            autocompletion=completion.kinds_of_components,
        ),
    ] = None,
) -> None:
    """List the components, plugins included; a recipe can name all but checks, which `alignkit doctor` asks."""
    if kind:
        typer.echo("\n".join(list_lines(kinds.registry_of(kind, kinds.ALL_KINDS))))
        return
    sections = [
        [kinds.plural(name), *(f"  {line}" for line in list_lines(found))] for name, found in kinds.ALL_KINDS.items()
    ]
    typer.echo("\n\n".join("\n".join(lines) for lines in sections))


def list_lines(registry: Registry[Any]) -> list[str]:
    """One line per component: its name and the first sentence about it."""
    width = max(map(len, registry.names()))
    return [f"{name:<{width}}  {describing.about(registry, name)}" for name in registry.names()]
