"""`alignkit describe`: one component with its formula, paper and parameters."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.recipe.describe as describing
    import alignkit.recipe.kinds as kinds
else:
    describing = LazyModule("alignkit.recipe.describe")
    kinds = LazyModule("alignkit.recipe.kinds")


def describe(
    kind: Annotated[str, typer.Argument(help="weighting, pair_weighting, loss, trainer, anchor, contrast or model.")],
    name: Annotated[str, typer.Argument(help="A name that `alignkit list KIND` shows.")],
) -> None:
    """Explain one component: idea, formula, paper, parameters, what it needs, where its source is."""
    registry = kinds.registry_of(kind)
    cls: type[Any] = registry.get(name)
    file, _, line = registry.source(name).rpartition(":")
    parameters, needs = list(describing.parameters(cls)), describing.needs_of(registry, name)
    blocks = [
        f"{registry.kind} {name}",
        inspect.getdoc(cls) or "",
        "\n".join(["Parameters:", *parameters]) if parameters else "Parameters: none",
        f"Needs: {needs}" if needs else "",
        f"Source: {os.path.relpath(file)}:{line}",
    ]
    typer.echo("\n\n".join(block for block in blocks if block))
