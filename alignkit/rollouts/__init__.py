"""Sampled responses: anchors, the third response of a triplet, and groups that on-policy training learns from."""

from __future__ import annotations

from typing import Annotated

from alignkit.registry import Registry
from alignkit.rollouts.base import Anchor
from alignkit.rollouts.groups import Sampler

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

samplers: Registry[Sampler] = Registry(
    "sampler",
    Sampler,
    {
        "generate": "alignkit.rollouts.generate:Generate",
        "vllm": "alignkit.rollouts.vllm:VLLM",
    },
)

SamplerSlot = Annotated[Sampler, samplers]
"""A recipe slot that holds a sampler of groups."""
