"""gamma-PO (Sun et al. 2025, arXiv:2506.03690): SimPO's target margin, shared out among the pairs of a step.

Pairs that are told apart well get a larger margin and unclear ones a smaller, so that mislabelled pairs pull less. How
unequal it becomes is held back by a KL to equal shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.asks.whole_step import Facts, State, WholeStep
from alignkit.lazy import torch
from alignkit.losses.base import MeanLogpLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor

ITERATIONS = 19
"""Mirror descents. The authors' code does 20 and takes the margins from before the last."""


class GammaPO(MeanLogpLoss, WholeStep):
    """Logistic loss of the margin between mean log-probs, less the pair's share of the step's target margins.

    The margins are those of the whole optimizer step, as of one batch in the authors' code; the queue of gaps that it
    can add is left out. They depend on who else is in the step, so `training.batch_size` is a part of the method.

    Formula: -log sigmoid(r - gamma_i), r = beta * (sum_t w_t lp_t / T_w - sum_t w_t lp_t / T_l),
        gamma_i = beta * gamma_beta_ratio * N * p_i; p from equal shares by 19 steps
        p <- p * exp(-eta * (tau * (1 + log(N p)) + beta * gamma_beta_ratio * sigmoid(gamma - r))), normalised;
        eta = min(1, 1 / (2 tau))
    Paper: arXiv:2506.03690; the authors' code
    """

    beta: float = Field(2.5, gt=0)
    """Scale of the reward, per nat of mean log-prob; the authors' 2.5 to 10."""

    gamma_beta_ratio: float = Field(0.25, ge=0)
    """The mean target margin in nats of mean log-prob; the authors' 0.15 to 0.5. 0 leaves no margins."""

    tau: float = Field(10.0, gt=0)
    """How much unequal margins cost; the authors' 3 to 20. Large values give SimPO."""

    def needs(self) -> Needs:
        return Needs(whole_step=frozenset({self}))

    def observe(self, scores: PairScores) -> Tensor:
        return self._lead_B(scores)[:, None]

    def _lead_B(self, scores: PairScores) -> Tensor:
        return self.beta * (scores.chosen.mean_policy_B - scores.rejected.mean_policy_B)

    @property
    def _mean_margin(self) -> float:
        return self.beta * self.gamma_beta_ratio

    def decide(self, seen: Tensor, state: State, seed: int) -> tuple[Facts, State]:
        return {"margin": margins(seen[:, 0], self._mean_margin, self.tau)}, state

    def at_rest(self, state: State) -> Facts:
        return {"margin": torch.tensor(self._mean_margin)}

    def per_example(self, scores: PairScores) -> Tensor:
        return -torch.nn.functional.logsigmoid(self._lead_B(scores) - scores.decided(self)["margin"])


def margins(lead_N: Tensor, mean: float, tau: float) -> Tensor:
    """[N] target margins of mean `mean` for these leads, all in units of the reward."""
    rate = min(1.0, 0.5 / tau)
    relative_N = torch.ones_like(lead_N)  # N p
    for _ in range(ITERATIONS):
        slope_N = tau * (1 + relative_N.log()) + mean * torch.sigmoid(mean * relative_N - lead_N)
        relative_N = len(lead_N) * (relative_N.log() - rate * slope_N).softmax(0)
    return mean * relative_N
