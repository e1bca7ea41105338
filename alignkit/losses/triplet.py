"""TI-DPO's triplet loss (arXiv:2505.19653, Eq. 13): a sampled anchor should lie nearer to chosen than to rejected.

Distances are squared differences of log-ratios, token by token, unweighted and without beta; the gradient flows through
all three responses (Eq. 37). It is not directed by the preference: it pulls the chosen log-ratio to the anchor's, which
can lower it. Departure: the released code skips the term when the margin is 0; here only leaving the loss out does.

The anchor is scored with gradient also where the hinge turns out to be closed: near - far is unbounded in the anchor's
own log-ratios, so that only a forward pass of the anchor tells; and to leave rows out by it, the host would have to
wait for the device in the middle of a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.losses.base import PairLoss
from alignkit.rollouts import AnchorSlot
from alignkit.rollouts.sample_prompt import SamplePrompt
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class Triplet(PairLoss):
    """Hinge on the anchor's distance to the chosen response against that to the rejected one.

    Formula: max(0, sum_t (d_t - b_t)^2 - sum_t (d_t - c_t)^2 + margin); b, c, d log-ratios of chosen, rejected, anchor
    Paper: arXiv:2505.19653 Eq. 13
    """

    coefficient: float = Field(0.1, gt=0)
    """Factor of this loss in the objective, the paper's gamma; dimensionless."""

    pair_weighted: bool = False
    """Whether the pair weighting multiplies this loss: it says how much to trust a preference, and this has none."""

    margin: float = Field(0.01, ge=0)
    """How much nearer the anchor must be, squared nats. Not in the paper; released code 0.001 to 0.01."""

    anchor: AnchorSlot = Field(default_factory=lambda: SamplePrompt(name="sample_prompt"))
    """The third response."""

    anchor_grad: bool = True
    """Let the gradient flow through the anchor's log-probs too, as Eq. 37c has it."""

    align: Literal["overlap", "zero_pad", "min3"] = "overlap"
    """Tokens compared, by index in the response: those both have; those either has, with 0 for a missing one; or those
    all three have. The paper ignores that lengths differ; `overlap` is the released code."""

    reduce: Literal["sum", "mean"] = "sum"
    """Over the compared tokens: the paper's sum, or the mean, which lengths do not change."""

    def needs(self) -> Needs:
        return Needs(reference=True, anchor=self.anchor)

    def per_example(self, scores: PairScores) -> Tensor:
        near_B, far_B = self.distances(scores)
        return torch.relu(near_B - far_B + self.margin)

    def distances(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """([B], [B]) squared distance of the anchor to the chosen and to the rejected response, squared nats."""
        trio = (scores.anchor, scores.chosen, scores.rejected)
        width = max(s.mask_BT.shape[-1] for s in trio)
        d_BT, b_BT, c_BT = (s.by_index(s.logratio_BT, width) for s in trio)
        if not self.anchor_grad:
            d_BT = d_BT.detach()
        length_a_B, length_w_B, length_l_B = (s.length_B for s in trio)
        either_or_both = torch.maximum if self.align == "zero_pad" else torch.minimum
        near_count_B, far_count_B = either_or_both(length_a_B, length_w_B), either_or_both(length_a_B, length_l_B)
        if self.align == "min3":
            near_count_B = far_count_B = torch.minimum(near_count_B, far_count_B)
        return self._distance_B(d_BT - b_BT, near_count_B), self._distance_B(d_BT - c_BT, far_count_B)

    def _distance_B(self, difference_BT: Tensor, count_B: Tensor) -> Tensor:
        index_T = torch.arange(difference_BT.shape[-1], device=difference_BT.device)
        total_B = difference_BT.square().masked_fill(index_T >= count_B[:, None], 0.0).sum(-1)
        return total_B / count_B.clamp_min(1) if self.reduce == "mean" else total_B
