"""Responses drawn by the model in training itself: one process, the same weights, exact log-probs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignkit.lazy import LazyModule
from alignkit.models.head import Draw
from alignkit.rollouts.groups import Drawn, Sampler

if TYPE_CHECKING:
    from numpy import ndarray

    import alignkit.models.generation as generation
    from alignkit.models.policy import Policy
else:
    generation = LazyModule("alignkit.models.generation")


class Generate(Sampler):
    """The policy itself, token by token; each prompt is computed once for its group, and finished rows are dropped.

    The randomness of a response is its seed's alone, so a killed run draws again what it had drawn.
    """

    def sample(
        self, prompts: Sequence[ndarray], seeds: Sequence[Sequence[int]], policy: Policy, step: int
    ) -> list[list[Drawn]]:
        found = generation.sample_groups(
            policy.model,
            prompts,
            seeds,
            Draw(self.temperature, self.top_k, self.top_p),
            max_new_tokens=self.max_new_tokens,
            eos_id=policy.end_id,
        )
        return [[Drawn(ids, logp_T) for ids, logp_T in group] for group in found]
