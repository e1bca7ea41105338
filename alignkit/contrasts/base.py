"""What every contrast shares: it gives two models' predictions of the same response tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field

from alignkit.asks.bench import Bench
from alignkit.data.rows import TokenRow
from alignkit.losses.base import Loss
from alignkit.registry import Component
from alignkit.scores import Sees
from alignkit.views.base import Trainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from alignkit.models.layout import Batch
    from alignkit.models.reference import Reference
    from alignkit.models.scorer import Scored


class ContrastBench(Bench, Protocol):
    """A bench on which copies of the model can be trained."""

    @property
    def max_positions(self) -> int | None:
        """Longest prompt + response that the model has positions for; None when its configuration does not say."""
        ...

    def training_facts(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """JSON values that decide what a side training with these changes gives."""
        ...

    def trained(
        self, name: str, rows: Sequence[TokenRow], *, view: Trainer, loss: Loss, training: Mapping[str, Any]
    ) -> Reference:
        """A copy of the model trained on the side, by all processes together; frozen."""
        ...


class Contrast(Component):
    """Base of the contrasts. The two models are used before training, and gone when it starts."""

    fits: ClassVar[tuple[Sees, ...]] = ("pairs", "labelled responses", "responses")
    """What a trainer must give for the two models to be had."""

    trains: ClassVar[bool] = False
    """Whether the two models are trained for it."""

    def tokens_before(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """Most tokens that are put before a prompt."""
        return 0

    @abstractmethod
    def scored(self, rows: Sequence[TokenRow], bench: ContrastBench) -> Iterator[tuple[Batch, Scored, Scored]]:
        """Batches of the rows, with the scores of the positive and of the negative model, predictions included.

        Both score the batch's response tokens in the same order. Called on every process, each with its share.
        """

    def guided(self, rows: Sequence[TokenRow], bench: ContrastBench) -> Iterator[tuple[Batch, Scored, Scored]]:
        """Batches of the rows, with the scores of the positive model and of the reference, as `scored` has them."""
        references = bench.scored(bench.reference(), rows)
        for (batch, positive, _), (_, reference) in zip(self.scored(rows, bench), references, strict=True):
            yield batch, positive, reference

    @abstractmethod
    def depends_on(self, bench: ContrastBench) -> dict[str, Any]:
        """JSON values, beside own parameters, starting model and scored rows, that decide the scores."""


class TrainedContrast(Contrast):
    """Base of the contrasts that train two copies of the starting model for a few steps.

    Batch, schedule and optimizer are the recipe's `training`. For the length of this both copies are in memory beside
    the policy.
    """

    trains = True

    steps: int = Field(100, gt=0)
    """Optimizer steps of each of the two trainings."""

    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate of the two trainings; null means the recipe's."""

    @abstractmethod
    def train(self, sign: str, rows: Sequence[TokenRow], bench: ContrastBench) -> Reference:
        """The model trained towards desirable (`positive`) or undesirable (`negative`) responses."""

    def training(self) -> dict[str, Any]:
        """What the two trainings change of the recipe's `training`."""
        changes: dict[str, Any] = {"steps": self.steps, "epochs": None}
        return changes if self.learning_rate is None else {**changes, "learning_rate": self.learning_rate}

    def scored(self, rows: Sequence[TokenRow], bench: ContrastBench) -> Iterator[tuple[Batch, Scored, Scored]]:
        models = [self.train(sign, bench.train, bench) for sign in ("positive", "negative")]
        both = (bench.scored(model, rows) for model in models)
        for (batch, positive), (_, negative) in zip(*both, strict=True):
            yield batch, positive, negative

    def guided(self, rows: Sequence[TokenRow], bench: ContrastBench) -> Iterator[tuple[Batch, Scored, Scored]]:
        models = (self.train("positive", bench.train, bench), bench.reference())  # the other one is not trained for it
        both = (bench.scored(model, rows) for model in models)
        for (batch, positive), (_, reference) in zip(*both, strict=True):
            yield batch, positive, reference

    def depends_on(self, bench: ContrastBench) -> dict[str, Any]:
        return bench.training_facts(self.training())
