"""Anchors: the third response of a triplet."""

from __future__ import annotations

from typing import Annotated

from alignkit.anchors.base import Anchor
from alignkit.registry import Registry

anchors: Registry[Anchor] = Registry(
    "anchor",
    Anchor,
    {
        "sample_prompt": "alignkit.anchors.sample_prompt:SamplePrompt",
        "teacher_forced": "alignkit.anchors.teacher_forced:TeacherForced",
    },
)

AnchorSlot = Annotated[Anchor, anchors]
"""A recipe slot that holds an anchor."""
