"""Pair weightings: how much each preference pair counts in the loss."""

from __future__ import annotations

from typing import Annotated

from alignkit.pair_weighting.base import PairWeighting
from alignkit.registry import Registry

pair_weightings: Registry[PairWeighting] = Registry(
    "pair_weighting",
    PairWeighting,
    {
        "uniform": "alignkit.pair_weighting.uniform:Uniform",
        "uni_dpo": "alignkit.pair_weighting.uni_dpo:UniDPO",
        "column": "alignkit.pair_weighting.column:Column",
        "wpo": "alignkit.pair_weighting.wpo:WPO",
        "ches": "alignkit.pair_weighting.ches:CHES",
    },
)

PairWeightingSlot = Annotated[PairWeighting, pair_weightings]
"""A recipe slot that holds a pair weighting."""
