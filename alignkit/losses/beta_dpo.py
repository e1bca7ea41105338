"""beta-DPO (Wu et al. 2024, arXiv:2407.08639): beta follows the step's margins, and outlying pairs are left out.

Where the pairs of a step are already told apart better than usual, beta is larger and the step more careful. What is
usual is a running mean that a checkpoint keeps. Pairs are kept by drawing, likelier the nearer their margin lies to the
usual one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.whole_step import Facts, State
from alignkit.lazy import torch
from alignkit.loop.step import Metrics
from alignkit.losses import running
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


LEAST = 1e-3
"""Smallest beta, the authors' too."""


class BetaDPO(running.Running, LogRatioLoss):
    """DPO with one beta per step and a share of the pairs left out, both by the margins of the whole step.

    The running mean M and deviation s begin at 0 and take in a step's margins before that step is decided, as in the
    authors' code: M <- momentum * M + (1 - momentum) * mean h. Pairs are drawn without replacement.

    Formula: -log sigmoid(beta' * h) over the kept pairs, h = sum_t w_t b_t - sum_t w_t c_t;
        beta' = beta * (1 + adapt * (mean of kept h - M)), at least 0.001; kept by exp(-((h - M) / s)^2 / 2)
    Paper: arXiv:2407.08639; the authors' code
    """

    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the reference where a step is as usual, per nat of log-ratio; usual 0.01 to 0.5."""

    adapt: float = Field(0.6, ge=0)
    """How much beta grows with the step's lead over the usual margin, the paper's alpha, per nat; 0 keeps beta."""

    drop: float = Field(0.2, ge=0, lt=1)
    """Share of a step's pairs that is left out; 0 keeps all. At least one pair is kept."""

    def observe(self, scores: PairScores) -> Tensor:
        return (scores.chosen.logratio_B - scores.rejected.logratio_B)[:, None]

    def decide(self, seen: Tensor, state: State, seed: int) -> tuple[Facts, State]:
        margin_N, now = seen[:, 0], running.updated(seen[:, 0], state, self.momentum)
        kept_N = self._kept(running.standardised(margin_N, now), seed)
        factor_N = kept_N / kept_N.mean()  # the mean is over the kept pairs, the objective divides by all
        lead = (factor_N * margin_N).mean() - now["mean"]
        beta = (self.beta * (1 + self.adapt * lead)).clamp_min(LEAST)
        return {"beta": beta, "factor": factor_N}, now

    def _kept(self, distance_N: Tensor, seed: int) -> Tensor:
        """[N] 1 or 0. The largest of log-weights with Gumbel noise are a draw without replacement, also where weights
        are 0 in any number format."""
        num_kept = max(1, int(len(distance_N) * (1 - self.drop)))
        uniform_N = torch.rand(len(distance_N), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        noisy_N = log_weights(distance_N) - (-uniform_N.clamp_min(1e-300).log()).log()
        return torch.zeros_like(distance_N).scatter(0, noisy_N.topk(num_kept).indices, 1.0)

    def at_rest(self, state: State) -> Facts:
        return {"beta": torch.tensor(self.beta), "factor": torch.ones(())}

    def per_example(self, scores: PairScores) -> Tensor:
        facts = scores.decided(self)
        margin_B = scores.chosen.logratio_B - scores.rejected.logratio_B
        return -torch.nn.functional.logsigmoid(facts["beta"] * margin_B) * facts["factor"]

    def metrics(self, scores: PairScores) -> Metrics:
        return {f"{self.name}/beta": (scores.decided(self)["beta"], 1.0)}


def log_weights(distance_N: Tensor) -> Tensor:
    """[N] logarithms of how likely pairs are kept, not normalised: a normal density of the distance from the usual."""
    return -0.5 * distance_N.square()
