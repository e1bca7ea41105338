"""How long a response is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.rewards.base import Reward, Sample

if TYPE_CHECKING:
    from typing import Self


class Length(Reward):
    """A number that the response's length in tokens decides, T, its end token included.

    `soft_overlong` is DAPO's: nothing up to `max` - `window`, then falling to -1 at `max`. `cosine` runs from `short`
    at no token to `long` at `max`; the paper turns it around for wrong answers, which lengths alone do not know, so let
    a reward of the answer outweigh it. `target` falls on both sides of a length.

    Formula: soft_overlong: clip((max - window - T) / window, -1, 0);
        cosine: long + (short - long) / 2 * (1 + cos(pi * min(T, max) / max)); target: -min(1, |T - target| / target)
    Paper: arXiv:2503.14476 Eq. 13 (DAPO); arXiv:2502.03373 (cosine)
    """

    shape: Literal["soft_overlong", "cosine", "target"] = "soft_overlong"
    """How length becomes a number."""

    max: int | None = Field(None, ge=1)
    """Longest response, tokens, as the sampler's `max_new_tokens`; of `soft_overlong` and `cosine`."""

    window: int = Field(64, ge=1)
    """Tokens before `max` over which `soft_overlong` falls; DAPO 4096 of 20480."""

    short: float = 1.0
    """What `cosine` gives for no token."""

    long: float = 0.5
    """What `cosine` gives from `max` on."""

    target: int | None = Field(None, ge=1)
    """The length wanted, tokens; of `target`."""

    @model_validator(mode="after")
    def _has_its_length(self) -> Self:
        needed = "target" if self.shape == "target" else "max"
        if getattr(self, needed) is None:
            what = "length wanted" if needed == "target" else "longest response, as the sampler's max_new_tokens"
            raise PydanticCustomError("length", f"shape '{self.shape}' needs '{needed}', tokens: the {what}")
        if self.shape == "soft_overlong" and self.max is not None and self.window > self.max:
            raise PydanticCustomError("window", f"window {self.window} is longer than max {self.max}; make it smaller")
        return self

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [self._value(len(sample.response_ids)) for sample in samples]

    def _value(self, tokens: int) -> float:
        if self.shape == "target":
            assert self.target is not None, "parsing refuses it"
            return -min(1.0, abs(tokens - self.target) / self.target)
        assert self.max is not None, "parsing refuses it"
        if self.shape == "soft_overlong":
            return min(0.0, max(-1.0, (self.max - self.window - tokens) / self.window))
        falling = (1 + math.cos(math.pi * min(tokens, self.max) / self.max)) / 2
        return self.long + (self.short - self.long) * falling
