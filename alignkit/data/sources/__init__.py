"""Sources: where rows come from."""

from __future__ import annotations

from typing import Annotated

from alignkit.data.sources.base import Source
from alignkit.registry import Registry

sources: Registry[Source] = Registry(
    "source",
    Source,
    {
        "file": "alignkit.data.sources.file:File",
        "hub": "alignkit.data.sources.hub:Hub",
        "world": "alignkit.data.sources.world:World",
    },
)

WORLD = "builtin:world"
"""What a recipe calls the built-in world in `data.train` and `data.eval`."""

SourceSlot = Annotated[Source, sources]
"""A recipe slot that holds a source."""
