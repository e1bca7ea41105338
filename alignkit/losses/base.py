"""What every loss shares: a coefficient, what it sees, and the unit it is averaged over.

A loss returns one value per example and never averages: the objective divides by the global count of the optimizer
step, so that micro-batches and processes cannot change the result.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.registry import Component
from alignkit.scores import PairScores, ResponseScores, Sees, Unit, UnpairedScores

if TYPE_CHECKING:
    from torch import Tensor


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

    @property
    def takes_pair_weight(self) -> bool:
        """Whether the pair weighting multiplies it."""
        return False

    @abstractmethod
    def per_example(self, scores: Any) -> Tensor:  # noqa: ANN401 -- narrowed by the subclasses below
        """[B] value of each example, to be minimised, not averaged, without the coefficient."""

    def terms(self, scores: Any) -> list[Term]:  # noqa: ANN401
        """All that is minimised, each part with its unit; `per_example` alone by default."""
        return [Term(self.name, self.per_example(scores), self.unit)]


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
