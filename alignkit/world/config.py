"""The `data.world` section of a recipe: how hard the built-in proving ground is."""

from __future__ import annotations

from pydantic import Field

from alignkit.registry import Section


class WorldConfig(Section):
    """How the built-in world is generated."""

    pairs: int = Field(2000, gt=0)
    """Training pairs generated."""
