"""A response sampled from the policy for the prompt (arXiv:2505.19653, Alg. 1 line 8; settings of the released code).

Sampling is batched over `refresh_every` optimizer steps, so that its cost is spread; the reference scores an anchor
when it is drawn, the policy re-scores it with gradient in the forward pass of each step.
"""

from __future__ import annotations

from pydantic import Field

from alignkit.rollouts.base import Anchor


class SamplePrompt(Anchor):
    """A whole response drawn from the policy given the prompt.

    Formula: y ~ pi(. | x), cut after `max_new_tokens`
    Paper: arXiv:2505.19653 Alg. 1 line 8
    """

    max_new_tokens: int = Field(64, gt=0, le=131_072)
    """Longest anchor; tokens."""

    refresh_every: int = Field(8, gt=0)
    """Draw the anchors of this many optimizer steps at once; steps. Larger is cheaper and more off-policy."""
