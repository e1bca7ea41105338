"""Model sources: the policy, its reference and its tokenizer."""

from __future__ import annotations

from typing import Annotated

from alignkit.models.base import ModelSource
from alignkit.registry import Registry

models: Registry[ModelSource] = Registry(
    "model",
    ModelSource,
    {
        "pretrained": "alignkit.models.pretrained:Pretrained",
        "scratch": "alignkit.models.scratch:Scratch",
        "world": "alignkit.models.world:World",
    },
)

ModelSlot = Annotated[ModelSource, models]
"""A recipe slot that holds a model source."""
