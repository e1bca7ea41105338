"""alpha-DPO (Wu et al. 2024, arXiv:2410.10148): SimPO whose target margin is larger for pairs that have moved further.

How far a pair has moved is its margin against the reference, in deviations from what is usual; what is usual is a
running mean that a checkpoint keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.whole_step import Facts, State
from alignkit.lazy import torch
from alignkit.losses import running
from alignkit.losses.base import MeanLogpLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class AlphaDPO(running.Running, MeanLogpLoss):
    """Logistic loss of the margin between mean log-probs, less a target that grows with how far the pair has moved.

    The running mean M and deviation s begin at 0 and take in a step's gaps before its margins are set, as in the
    authors' code. They would divide by a deviation near 0 in the first steps; here it is at least 0.001 nats.

    Formula: -log sigmoid(beta * (m_w - m_l - gamma_beta_ratio - alpha * (g - M) / s)), m mean log-probs with the token
        weights, g = mean_t w_t b_t - mean_t w_t c_t a constant
    Paper: arXiv:2410.10148; the authors' code
    """

    gamma_beta_ratio: float = Field(0.25, ge=0)
    """The usual pair's target margin in nats of mean log-prob; usual 0.1 to 0.8."""

    alpha: float = Field(0.2, ge=0)
    """What a deviation adds to it, nats of mean log-prob; the authors' 0.05 to 0.2. 0 gives SimPO."""

    def observe(self, scores: PairScores) -> Tensor:
        return (scores.chosen.mean_logratio_B - scores.rejected.mean_logratio_B)[:, None]

    def decide(self, seen: Tensor, state: State, seed: int) -> tuple[Facts, State]:
        now = running.updated(seen[:, 0], state, self.momentum)
        return {"margin": self.gamma_beta_ratio + self.alpha * running.standardised(seen[:, 0], now)}, now

    def at_rest(self, state: State) -> Facts:
        return {"margin": torch.tensor(self.gamma_beta_ratio)}

    def per_example(self, scores: PairScores) -> Tensor:
        lead_B = scores.chosen.mean_policy_B - scores.rejected.mean_policy_B
        return -torch.nn.functional.logsigmoid(self.beta * (lead_B - scores.decided(self)["margin"]))
