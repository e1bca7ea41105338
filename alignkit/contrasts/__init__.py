"""Contrasts: two models, of which one likes what is desirable more than the other does."""

from __future__ import annotations

from typing import Annotated

from alignkit.contrasts.base import Contrast
from alignkit.registry import Registry

contrasts: Registry[Contrast] = Registry(
    "contrast",
    Contrast,
    {
        "prompts": "alignkit.contrasts.prompts:Prompts",
        "dpo": "alignkit.contrasts.dpo:DPOContrast",
        "sft": "alignkit.contrasts.sft:SFTContrast",
    },
)

ContrastSlot = Annotated[Contrast, contrasts]
"""A slot that holds a contrast."""
