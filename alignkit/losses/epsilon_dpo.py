"""epsilon-DPO (Lee et al. 2025, arXiv:2502.13177): each pair's beta, and slowly that of all, by how margins would move.

Where a slightly smaller beta would give the pair a larger margin and a slightly larger one a smaller, the pull to the
reference is loosened for it; where it is the other way round it is tightened. How the policy would look under another
beta is estimated from its own logits and the reference's, extrapolated a little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.asks.whole_step import Facts, State, WholeStep
from alignkit.lazy import torch
from alignkit.loop.step import Metrics
from alignkit.losses.base import LogRatioLoss
from alignkit.models.statistics import Statistic, Vocabulary
from alignkit.scores import PairScores, TokenScores

if TYPE_CHECKING:
    from torch import Tensor


class Extrapolated(Statistic):
    """log-prob of the token under logits moved away from the reference's, nats, without gradient.

    Formula: log softmax((1 + by) * z - by * z_ref) of the token; z logits of the policy
    """

    reads_reference = True
    has_gradient = False
    can_be_negative = True

    by: float
    """How far, as a share of the distance; below 0 towards the reference."""

    @property
    def words(self) -> str:
        return f"log-prob of the token with logits moved {'away from' if self.by > 0 else 'towards'} the reference's"

    def reduce(self, vocabulary: Vocabulary) -> Tensor:
        logits_NV = (1 + self.by) * vocabulary.logits_NV.detach() - self.by * vocabulary.reference_NV
        return Vocabulary(logits_NV, None).of(vocabulary.ids_N)


class EpsilonDPO(LogRatioLoss, WholeStep):
    """DPO with a beta for each pair, and one for all that moves after each step.

    The common beta is kept in checkpoints; the mean step is that of the whole optimizer step.

    Formula: -log sigmoid(beta_i * h), beta_i = beta / (1 + epsilon * step_i), h = sum_t w_t b_t - sum_t w_t c_t;
        step_i = 1 where m+ > m > m-, -1 where m+ < m < m-, else 0; m = sum_t w_t lp_t of chosen - of rejected,
        lp log-probs of the policy, m+ and m- with those of logits (1 + epsilon) z - epsilon z_ref and
        (1 - epsilon) z + epsilon z_ref; then beta <- beta / (1 + epsilon * mean step); b, c log-ratios to the
        reference, w token weights
    Paper: arXiv:2502.13177; the authors' code
    """

    beta: float = Field(0.01, gt=0)
    """Strength of the pull to the reference in the first step, per nat of log-ratio; the authors' 0.01."""

    epsilon: float = Field(0.01, gt=0, lt=1)
    """How much one step moves beta, and how far is looked; dimensionless; usual 0.005 to 0.02."""

    def needs(self) -> Needs:
        return super().needs() | Needs(statistics=frozenset(self._looks), whole_step=frozenset({self}))

    @property
    def _looks(self) -> tuple[Extrapolated, Extrapolated]:
        return Extrapolated(by=self.epsilon), Extrapolated(by=-self.epsilon)

    def initial_state(self) -> State:
        return {"beta": torch.tensor(self.beta, dtype=torch.float64)}

    def observe(self, scores: PairScores) -> Tensor:
        chosen_B3, rejected_B3 = (self._sums(side) for side in (scores.chosen, scores.rejected))
        return chosen_B3 - rejected_B3

    def _sums(self, side: TokenScores) -> Tensor:
        """[B, 3] log-probs: as it is, farther from the reference, nearer to it."""
        moved = [side.statistic_B(look, weighted=True) for look in self._looks]
        return torch.stack([side.policy_B.detach(), *moved], -1)

    def decide(self, seen: Tensor, state: State, seed: int) -> tuple[Facts, State]:
        now_N, farther_N, nearer_N = seen.unbind(-1)
        looser_N = (farther_N > now_N) & (now_N > nearer_N)
        tighter_N = (farther_N < now_N) & (now_N < nearer_N)
        step_N = looser_N.double() - tighter_N.double()
        beta_N = state["beta"] / (1 + self.epsilon * step_N)
        return {"beta": beta_N}, {"beta": state["beta"] / (1 + self.epsilon * step_N.mean())}

    def at_rest(self, state: State) -> Facts:
        return state

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = scores.chosen.logratio_B - scores.rejected.logratio_B
        return -torch.nn.functional.logsigmoid(scores.decided(self)["beta"] * margin_B)

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        beta_B = scores.decided(self)["beta"]
        chosen_B, rejected_B = (s.plain.logratio_B.detach() for s in (scores.chosen, scores.rejected))
        return beta_B * chosen_B, beta_B * rejected_B

    def metrics(self, scores: PairScores) -> Metrics:
        beta_B = scores.decided(self)["beta"] + torch.zeros_like(scores.chosen.length_B, dtype=torch.float32)
        return {f"{self.name}/beta": (beta_B.sum(), float(len(beta_B)))}
