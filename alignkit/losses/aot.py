"""AOT, alignment by optimal transport (Melnyk et al. 2024, arXiv:2406.05882): one distribution is to lie above another.

Not each chosen response must beat its own rejected one, but the k-th best of the optimizer step's chosen responses the
k-th best of the rejected ones, which is the optimal transport between two distributions on a line. It depends on how
many pairs a step has: with one pair it is DPO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.asks.whole_step import Facts, State, WholeStep
from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class AOT(LogRatioLoss, WholeStep):
    """Logistic loss of the differences between two sorted lists of the whole step.

    Token weights enter both lists. In an evaluation, where there is no step, each pair is compared with itself.

    Formula: -(1 - eps) * log sigmoid(m) - eps * log sigmoid(-m), m = beta * (u_(k) - v_(k)), u_(k) and v_(k) the k-th
        smallest of the step; paired: u = sum_t w_t lp_t of chosen - of rejected, v = sum_t w_t lr_t likewise; unpaired:
        u = sum_t w_t b_t, v = sum_t w_t c_t; lp, lr log-probs of policy and reference, b, c log-ratios, w token weights
    Paper: arXiv:2406.05882
    """

    pair_weighted: bool = False
    """Whether the pair weighting multiplies this loss. Sorting parts the pairs, so a pair's weight would multiply what
    its responses learn against those of others."""

    form: Literal["paired", "unpaired"] = "paired"
    """paired: the policy's margins against the reference's; unpaired: log-ratios of chosen responses against those of
    rejected ones."""

    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of pairs, eps, whose labels are taken to be swapped; usual 0 to 0.3."""

    def needs(self) -> Needs:
        return Needs(reference=True, whole_step=frozenset({self}))

    def observe(self, scores: PairScores) -> Tensor:
        return torch.stack(self._lists(scores), dim=-1)

    def decide(self, seen: Tensor, state: State, seed: int) -> tuple[Facts, State]:
        """Of each pair, what its u and its v are compared with."""
        order_N2 = seen.argsort(dim=0, stable=True)
        sorted_N2 = seen.gather(0, order_N2)
        opposite_N2 = torch.zeros_like(seen).scatter(0, order_N2, sorted_N2.flip(-1))
        return {"opposite_u": opposite_N2[:, 0], "opposite_v": opposite_N2[:, 1]}, state

    def per_example(self, scores: PairScores) -> Tensor:
        u_B, v_B = self._lists(scores)
        facts = scores.decided(self) or {"opposite_u": v_B.detach(), "opposite_v": u_B.detach()}
        # The other pairs' numbers are constants, so u and v get their gradients one by one: the second has the value 0.
        by_v_B = self._loss(facts["opposite_v"] - v_B)
        return self._loss(u_B - facts["opposite_u"]) + (by_v_B - by_v_B.detach())

    def _lists(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """[B] u and v of each pair."""
        chosen, rejected = scores.chosen, scores.rejected
        if self.form == "unpaired":
            return chosen.logratio_B, rejected.logratio_B
        of_reference_B = [(side.policy_B - side.logratio_B).detach() for side in (chosen, rejected)]
        return chosen.policy_B - rejected.policy_B, of_reference_B[0] - of_reference_B[1]

    def _loss(self, difference_B: Tensor) -> Tensor:
        margin_B = self.beta * difference_B
        right_B, swapped_B = (-torch.nn.functional.logsigmoid(m_B) for m_B in (margin_B, -margin_B))
        return (1 - self.label_smoothing) * right_B + self.label_smoothing * swapped_B
