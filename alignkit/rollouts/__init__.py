"""Anchors: the third response of a triplet."""

from __future__ import annotations

from typing import Annotated

from alignkit.registry import Registry
from alignkit.rollouts.base import Anchor

anchors: Registry[Anchor] = Registry(
    "anchor",
    Anchor,
    {
        "sample_prompt": "alignkit.rollouts.sample_prompt:SamplePrompt",
        "teacher_forced": "alignkit.rollouts.teacher_forced:TeacherForced",
    },
)

AnchorSlot = Annotated[Anchor, anchors]
"""A recipe slot that holds an anchor."""
