"""What every loss shares: a coefficient, what it sees, and the unit it is averaged over.

A loss returns one value per example and never averages: the objective divides by the global count of the optimizer
step, so that micro-batches and processes cannot change the result.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.registry import Component
from alignkit.scores import PairScores, ResponseScores, Sees, UnpairedScores

if TYPE_CHECKING:
    from torch import Tensor

Unit = Literal["examples", "tokens", "sequence_tokens", "gold_tokens"]
"""What a sum over the step's examples is divided by: their number; the tokens of their first response (the chosen one);
those and the prompt's but its first; or the tokens of their gold responses."""


class Loss(Component):
    """Base of the losses; derive from `PairLoss`, `ResponseLoss` or `UnpairedLoss`."""

    sees: ClassVar[Sees]
    """What the trainer must give."""

    unit: ClassVar[Unit] = "examples"
    """What the sum of `per_example` over the step's examples is divided by."""

    coefficient: float = Field(1.0, gt=0)
    """Factor of this loss in the objective; dimensionless. To switch a loss off, leave it out of the list."""

    def needs(self) -> Needs:
        """What the step must compute for this loss; nothing by default."""
        return Needs()

    @abstractmethod
    def per_example(self, scores: Any) -> Tensor:  # noqa: ANN401 -- narrowed by the subclasses below
        """[B] value of each example, to be minimised, not averaged, without the coefficient."""


class PairLoss(Loss):
    """A loss of chosen against rejected responses."""

    sees = "pairs"

    pair_weighted: bool = True
    """Whether the pair weighting multiplies this loss."""

    @abstractmethod
    def per_example(self, scores: PairScores) -> Tensor:
        """[B] value of each pair, to be minimised, not averaged, without the coefficient."""

    def nll(self, scores: PairScores) -> tuple[Tensor, Unit] | None:
        """A likelihood term beside `per_example` that is averaged over tokens: its [B] sums and their unit, or None."""
        return None

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor] | None:
        """Detached ([B], [B]) implicit rewards of chosen and rejected for the log, unweighted; None if it has none."""
        return None


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
