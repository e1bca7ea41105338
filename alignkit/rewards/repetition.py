"""How often a response repeats itself."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from alignkit.rewards.base import Reward, Sample


class Repetition(Reward):
    """Share of token n-grams that were there before, as a punishment: 0 without any, near -1 for one over and over.

    A response of fewer than n tokens repeats nothing.

    Formula: -(1 - unique n-grams / n-grams)
    Paper: arXiv:2502.03373
    """

    n: int = Field(3, ge=1, le=100)
    """Tokens of a gram; usual 3 to 40."""

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [self._value(sample.response_ids.tolist()) for sample in samples]

    def _value(self, ids: Sequence[int]) -> float:
        grams = [tuple(ids[first : first + self.n]) for first in range(len(ids) - self.n + 1)]
        return len(set(grams)) / len(grams) - 1 if grams else 0.0
