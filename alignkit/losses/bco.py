"""BCO, binary classifier optimisation (Jung et al. 2024, arXiv:2404.04656), for pairs.

Each response is classified by itself as good or bad by its reward. The rewards are centred first by their mean over all
that was trained on so far, so that the classifier's threshold moves along with the policy; without the shift its
threshold is the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.asks.whole_step import Facts, State, WholeStep
from alignkit.lazy import torch
from alignkit.loop.step import Metrics
from alignkit.losses.base import LogRatioLoss, Loss
from alignkit.scores import PairScores, View

if TYPE_CHECKING:
    from torch import Tensor


class Centred(Loss, WholeStep):
    """Base of both forms: the running mean of what is observed of responses, over all examples of all steps."""

    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the reference, per nat of log-ratio; usual 0.01 to 0.5."""

    shift: Literal["running", "none"] = "running"
    """running: rewards are compared with their mean so far, the step at hand included; none: with 0, the reference."""

    def needs(self) -> Needs:
        return Needs(reference=True, whole_step=frozenset({self} if self.shift == "running" else ()))

    def initial_state(self) -> State:
        return {name: torch.zeros((), dtype=torch.float64) for name in ("mean", "examples")}

    def decide(self, seen: Tensor, state: State, seed: int) -> tuple[Facts, State]:
        examples = state["examples"] + len(seen)
        mean = state["mean"] + (seen.mean() - state["mean"]) * len(seen) / examples
        carried = {"mean": mean, "examples": examples}
        return self.at_rest(carried), carried

    def at_rest(self, state: State) -> Facts:
        return {"shift": state["mean"]}

    def centre(self, scores: View) -> Tensor | float:
        """Nats that log-ratios are compared with."""
        return scores.decided(self)["shift"] if self.shift == "running" else 0.0

    def metrics(self, scores: View) -> Metrics:
        return {f"{self.name}/shift": (scores.decided(self)["shift"], 1.0)} if self.shift == "running" else {}


class BCO(Centred, LogRatioLoss):
    """Logistic loss of the chosen response's centred reward, and of the rejected one's downwards.

    Token weights enter the log-ratios and their running mean alike.

    Formula: -log sigmoid(beta * (S_w - delta)) - log sigmoid(-beta * (S_l - delta)); S_w = sum_t w_t b_t,
        S_l = sum_t w_t c_t, b, c log-ratios to the reference, w token weights; delta the mean of S_w and S_l over all
        pairs of this step and those before
    Paper: arXiv:2404.04656
    """

    def observe(self, scores: PairScores) -> Tensor:
        return torch.stack([scores.chosen.logratio_B, scores.rejected.logratio_B], dim=-1)

    def per_example(self, scores: PairScores) -> Tensor:
        centre = self.centre(scores)
        logsigmoid = torch.nn.functional.logsigmoid
        chosen_B, rejected_B = (self.beta * (s.logratio_B - centre) for s in (scores.chosen, scores.rejected))
        return -logsigmoid(chosen_B) - logsigmoid(-rejected_B)
