"""Advantages: how much better a response is than was to be expected."""

from __future__ import annotations

from typing import Annotated

from alignkit.advantages.base import Advantage
from alignkit.registry import Registry

advantages: Registry[Advantage] = Registry(
    "advantage",
    Advantage,
    {
        "group": "alignkit.advantages.group:GroupRelative",
        "returns": "alignkit.advantages.returns:Returns",
    },
)

AdvantageSlot = Annotated[Advantage, advantages]
"""A recipe slot that holds an advantage."""
