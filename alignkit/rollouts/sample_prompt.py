"""A response sampled from the policy for the prompt (arXiv:2505.19653, Alg. 1 line 8; settings of the released code).

Sampling is batched over `refresh_every` optimizer steps, so that its cost is spread; the reference scores an anchor
when it is drawn, the policy re-scores it with gradient in the forward pass of each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.models.head import Draw
from alignkit.rollouts.base import ResponseAnchor

if TYPE_CHECKING:
    from numpy import ndarray

    from alignkit.rollouts.sampler import Sampler


class SamplePrompt(ResponseAnchor):
    """A whole response drawn from the policy given the prompt.

    Formula: y ~ pi(. | x), cut after `max_new_tokens`
    Paper: arXiv:2505.19653 Alg. 1 line 8
    """

    def respond(self, rows: Sequence[TokenRow], sampler: Sampler) -> list[ndarray]:
        return sampler.sample(rows, Draw(self.temperature, self.top_k, self.top_p), self.max_new_tokens)
