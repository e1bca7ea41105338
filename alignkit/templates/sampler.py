"""What draws the groups of responses that a run learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.models.generation import sample_groups
from alignkit.models.head import Draw
from alignkit.rollouts.groups import Drawn, Sampler

if TYPE_CHECKING:
    from numpy import ndarray

    from alignkit.models.policy import Policy


class Template(Sampler):
    """The policy itself, with responses that may be longer as training goes on.

    Formula: at most min(max_new_tokens, first + growth * step) tokens
    """

    first: int = Field(32, gt=0)
    """Longest response at the first step; tokens."""

    growth: int = Field(1, ge=0)
    """Tokens more at each step."""

    def sample(
        self, prompts: Sequence[ndarray], seeds: Sequence[Sequence[int]], policy: Policy, step: int
    ) -> list[list[Drawn]]:
        draw = Draw(self.temperature, self.top_k, self.top_p)
        most = min(self.max_new_tokens, self.first + self.growth * step)
        groups = sample_groups(policy.model, prompts, seeds, draw, max_new_tokens=most, eos_id=policy.end_id)
        return [[Drawn(*one) for one in group] for group in groups]
