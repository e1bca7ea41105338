"""Tokens on which the policy has already moved count more: the size of its own log-ratio, which costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


LARGEST = 50.0
"""Nats; what lies beyond counts as much."""


class SelfLogRatio(TokenWeighting):
    """Absolute log-ratio of policy to reference at each token, as a constant.

    It amplifies what training has begun. Before the first step all log-ratios are 0 but for rounding, and `floor` keeps
    that from being taken for weights.

    Formula: |log pi(y_t | x, y_<t) - log ref(y_t | x, y_<t)| + floor; pi / ref or ref / pi where only one way counts
    Paper: none; ours
    """

    knows_prompt = False

    floor: float = Field(0.01, gt=0)
    """Added to every token, nats: log-ratios much smaller than this leave the weights equal; usual 0.001 to 0.1."""

    moved: Literal["either", "up", "down"] = "either"
    """Which way: either, by its size; up, by the ratio pi / ref; or down, by ref / pi. For parts that order tokens."""

    def needs(self) -> Needs:
        return Needs(reference=True)

    def raw(self, span: Span) -> Tensor:
        assert span.policy_BS is not None and span.reference_BS is not None, "needs() asked for both"
        ratio_BS = span.policy_BS - span.reference_BS
        if self.moved == "either":
            return ratio_BS.abs() + self.floor
        return (ratio_BS if self.moved == "up" else -ratio_BS).clamp(-LARGEST, LARGEST).exp()
