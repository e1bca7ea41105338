"""All numbers of a frontier, for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from alignkit.frontier.chance import LEVEL
from alignkit.frontier.frontier import Curve, Frontier

TOLD: Final = ("value", "se", "low", "high", "df")
"""Of an interval."""


def as_json(found: Frontier) -> dict[str, Any]:
    """All numbers; NaN and infinity are null."""
    return {
        "reward": found.reward,
        "cost": found.cost,
        "level": LEVEL,
        "seeds": [*found.seeds],
        "start": _finite(found.start),
        "base": found.base,
        "arms": [
            {
                "arm": arm.name,
                "points": arm.points,
                "curve": None if arm.curve is None else _curve_json(arm.curve),
                "kind": None if arm.curve is None else "parabola in log cost" if arm.is_fitted else "straight lines",
                "off_monotone": arm.off_monotone,
            }
            for arm in found.arms
        ],
        "points": [
            {
                "arm": one.point.arm,
                "settings": {**one.point.settings},
                "reward": one.reward.numbers(*TOLD),
                "cost": one.cost.numbers(*TOLD),
                "efficiency": None if one.efficiency is None else one.efficiency.numbers(*TOLD),
            }
            for one in found.places
        ],
        "areas": [
            {
                "arm": one.arm,
                "base": one.base,
                "from": one.low,
                "to": one.high,
                "area": one.area.numbers(*TOLD),
                "p": _finite(one.area.p),
                "p_holm": _finite(one.p),
                "of_these_models": one.of_models.numbers(*TOLD),
                "curve": _curve_json(one.curve),
            }
            for one in found.comparisons
        ],
        "apart": [*found.apart],
        "left_out": [*found.left_out],
    }


def _curve_json(curve: Curve) -> Mapping[str, Sequence[float]]:
    return {"cost": curve.cost, "reward": curve.reward, "low": curve.low, "high": curve.high}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
