"""Rewards that the data brings along."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from alignkit.rewards.base import Reward, Sample


class ByColumn(Reward):
    """A number of the data's row, whatever the response.

    It is the same for all responses to a prompt, so an advantage that compares them takes it away again. Where there
    is no such baseline it says which prompts are worth more than others. A row whose column holds no finite number
    gives no score.

    Formula: the column's value
    """

    column: str = Field("reward", min_length=1)
    """Data column with a finite number."""

    def columns(self) -> frozenset[str]:
        return frozenset({self.column})

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [_number(sample.columns.get(self.column)) for sample in samples]


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None  # type: ignore[arg-type]
