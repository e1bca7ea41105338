"""What every loss shares: a coefficient, what it sees, and the unit it is averaged over.

A loss returns one value per example and never averages: the objective divides by the global count of the optimizer
step, so that micro-batches and processes cannot change the result.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.loop.step import Metrics
from alignkit.registry import Component
from alignkit.scores import PairScores, ResponseScores, Sees, Unit, UnpairedScores

if TYPE_CHECKING:
    from torch import Tensor


TIE = 1e-3
"""Nats below which a difference of two responses' log-probs is rounding, and the pair a tie."""


class Term(NamedTuple):
    """A part of a loss with a unit of its own.

    Attributes:
        name: under which it is logged.
        value_B: [B] value of each example, not averaged, without the coefficient.
        unit: what the sum over the step's examples is divided by.
    """

    name: str
    value_B: Tensor
    unit: Unit


class Loss(Component):
    """Base of the losses; derive from `PairLoss`, `ResponseLoss`, `UnpairedLoss`, or from this for what sees others."""

    sees: ClassVar[Sees]
    """What the trainer must give."""

    unit: ClassVar[Unit] = "examples"
    """What the sum of `per_example` over the step's examples is divided by."""

    reads_weights: ClassVar[bool] = False
    """Whether it says nothing where every token weighs 1."""

    coefficient: float = Field(1.0, gt=0)
    """Factor of this loss in the objective; dimensionless. To switch a loss off, leave it out of the list."""

    def needs(self) -> Needs:
        """What the step must compute for this loss; nothing by default."""
        return Needs()

    @property
    def takes_pair_weight(self) -> bool:
        """Whether the pair weighting multiplies it."""
        return False

    @property
    def penalty(self) -> float:
        """What is taken off a sampled response's reward per nat of its log-ratio to the reference."""
        return 0.0

    @abstractmethod
    def per_example(self, scores: Any) -> Tensor:  # noqa: ANN401 -- narrowed by the subclasses below
        """[B] value of each example, to be minimised, not averaged, without the coefficient."""

    def terms(self, scores: Any) -> list[Term]:  # noqa: ANN401
        """All that is minimised, each part with its unit; `per_example` alone by default."""
        return [Term(self.name, self.per_example(scores), self.unit)]

    def reward_metrics(self, scores: Any) -> Metrics:  # noqa: ANN401
        """Implicit rewards for the log, under `rewards/`; none by default."""
        return {}

    def metrics(self, scores: Any) -> Metrics:  # noqa: ANN401
        """What else is logged of it, under names of its own, as constants; nothing by default."""
        return {}


class PairLoss(Loss):
    """A loss of chosen against rejected responses."""

    sees = "pairs"

    pair_weighted: bool = True
    """Whether the pair weighting multiplies this loss."""

    @abstractmethod
    def per_example(self, scores: PairScores) -> Tensor:
        """[B] value of each pair, to be minimised, not averaged, without the coefficient."""

    @property
    def takes_pair_weight(self) -> bool:
        return self.pair_weighted

    def terms(self, scores: PairScores) -> list[Term]:
        likelihood = self.nll(scores)
        more = [] if likelihood is None else [Term(f"{self.name}_nll", *likelihood)]
        return [*super().terms(scores), *more]

    def nll(self, scores: PairScores) -> tuple[Tensor, Unit] | None:
        """A likelihood term beside `per_example` that is averaged over tokens: its [B] sums and their unit, or None."""
        return None

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor] | None:
        """Detached ([B], [B]) implicit rewards of chosen and rejected for the log, unweighted; None if it has none."""
        return None

    def reward_metrics(self, scores: PairScores) -> Metrics:
        rewards = self.rewards(scores)
        if rewards is None:
            return {}
        chosen_B, rejected_B = rewards
        margin_B = chosen_B - rejected_B
        tie = TIE * getattr(self, "beta", 1.0)  # rewards are beta x nats
        score_B = (1 + (margin_B > tie).float() - (margin_B < -tie).float()) / 2
        values = {"chosen": chosen_B, "rejected": rejected_B, "margins": margin_B, "accuracies": score_B}
        return {f"rewards/{name}": (value_B.sum(), float(len(value_B))) for name, value_B in values.items()}


class LogRatioLoss(PairLoss):
    """A loss of pairs whose implicit reward is beta times a response's summed log-ratio to the reference."""

    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the reference, per nat of log-ratio; usual 0.01 to 0.5."""

    def needs(self) -> Needs:
        return Needs(reference=True)

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = (s.plain.logratio_B.detach() for s in (scores.chosen, scores.rejected))
        return self.beta * chosen_B, self.beta * rejected_B


class MeanLogpLoss(PairLoss):
    """A loss of pairs whose implicit reward is beta times a response's mean log-prob, without a reference."""

    beta: float = Field(2.0, gt=0)
    """Scale of the reward, per nat of mean log-prob; usual 2 to 10."""

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = (s.plain.mean_policy_B.detach() for s in (scores.chosen, scores.rejected))
        return self.beta * chosen_B, self.beta * rejected_B


class ResponseLoss(Loss):
    """A loss of single responses."""

    sees = "responses"

    @abstractmethod
    def per_example(self, scores: ResponseScores) -> Tensor:
        """[B] value of each response, to be minimised, not averaged, without the coefficient."""


class UnpairedLoss(Loss):
    """A loss of single responses, each labelled desirable or not."""

    sees = "labelled responses"

    @abstractmethod
    def per_example(self, scores: UnpairedScores) -> Tensor:
        """[B] value of each response, to be minimised, not averaged, without the coefficient."""

    def rewards(self, scores: UnpairedScores) -> Tensor | None:
        """[B] detached implicit rewards for the log, unweighted; None if it has none."""
        return None

    def reward_metrics(self, scores: UnpairedScores) -> Metrics:
        reward_B = self.rewards(scores)
        if reward_B is None:
            return {}
        return {f"rewards/{name}": part for name, part in by_label(reward_B, scores.desirable_B)}


def by_label(value_B: Tensor, desirable_B: Tensor) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """(name, (sum, count)) over the desirable (`chosen`) and over the other (`rejected`) examples."""
    for name, mask_B in (("chosen", desirable_B), ("rejected", ~desirable_B)):
        yield name, (value_B.where(mask_B, 0.0).sum(), mask_B.sum())
