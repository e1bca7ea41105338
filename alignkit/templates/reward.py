"""How good a sampled response is."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from alignkit.rewards.base import Reward, Sample


class Template(Reward):
    """Reward of responses that end by themselves and are short enough.

    What a row says is in `sample.columns`, for the names that `columns()` gives; None is no score, which is not 0.

    Formula: 1 if the response has its end token and at most `most` tokens, else 0
    """

    most: int = Field(64, gt=0)
    """Longest response that is rewarded, tokens."""

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [float(sample.finished and len(sample.response_ids) <= self.most) for sample in samples]
