"""Evaluation: what is measured on held-out rows."""

from __future__ import annotations

from typing import Annotated

from alignkit.evaluation.base import Measure
from alignkit.registry import Registry

measures: Registry[Measure] = Registry(
    "measure",
    Measure,
    {
        "diversity": "alignkit.evaluation.diversity:Diversity",
        "pairs": "alignkit.evaluation.pairs:Pairs",
        "rewards": "alignkit.evaluation.rewards:Rewards",
        "samples": "alignkit.evaluation.samples:Samples",
        "weights": "alignkit.evaluation.weights:Weights",
    },
)

MeasureSlot = Annotated[Measure, measures]
"""A recipe slot that holds a measure."""
