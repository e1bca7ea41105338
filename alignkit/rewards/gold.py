"""Rewards that compare a response with a right answer of the data."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from alignkit.rewards.base import Reward, Sample

Verdict = Literal["right", "wrong", "unparsable"]

MARK = "####"
"""What GSM8K writes before the answer, in its data and in responses that follow it."""


class AgainstGold(Reward):
    """Base of the rewards that know the right answer. One method, `verdict`, reads the response."""

    column: str = Field("answer", min_length=1)
    """Data column with the right answer, text or a number; of text with `####` in it, what follows the last one."""

    right: float = 1.0
    """Reward of a right answer."""

    wrong: float = 0.0
    """Reward of another answer."""

    unparsable: float = 0.0
    """Reward of a response in which no answer can be read."""

    def columns(self) -> frozenset[str]:
        return frozenset({self.column})

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [self._value(sample) for sample in samples]

    @abstractmethod
    def verdict(self, gold: str, sample: Sample) -> Verdict | None:
        """What the response's answer is; None where the right answer cannot be read.

        Args:
            gold: the right answer, not empty, without white space around it.
            sample: the response.
        """

    def _value(self, sample: Sample) -> float | None:
        gold = _gold(sample.columns.get(self.column))
        verdict = self.verdict(gold, sample) if gold else None
        return {"right": self.right, "wrong": self.wrong, "unparsable": self.unparsable}[verdict] if verdict else None


def _gold(value: object) -> str | None:
    """The right answer that a column holds; None where it holds no text and no number."""
    if isinstance(value, str):
        return value.rpartition(MARK)[2].strip()
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return repr(value) if is_number else None
