"""The recipe: what a run is, whole. Parsing it builds its components."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from alignkit.advantages import AdvantageSlot
from alignkit.asks.needs import Needs
from alignkit.asks.texts import TextValues
from alignkit.data.config import DataConfig
from alignkit.data.wanted import Wanted
from alignkit.engine.method import Drawing, Job, Method, Sizes
from alignkit.evaluation.config import EvaluationConfig
from alignkit.loop.config import TrainingConfig
from alignkit.losses import LossSlot
from alignkit.models import ModelSlot
from alignkit.pair_weighting import PairWeightingSlot
from alignkit.pair_weighting.uniform import Uniform as UniformPairs
from alignkit.parallel.config import ParallelConfig
from alignkit.registry import Section
from alignkit.rewards import RewardSlot
from alignkit.rollouts import SamplerSlot
from alignkit.views import TrainerSlot
from alignkit.weighting import Weighting
from alignkit.weighting.uniform import Uniform


class Recipe(Section):
    """A run, declared. Top-level keys are the slots."""

    seed: int = Field(0, ge=0)
    """Seed of everything random: data order, initial weights, anchors, sampling."""

    model: ModelSlot
    """The policy and its reference."""

    data: DataConfig
    """Where the rows come from and how they become tokens."""

    weighting: Weighting = Field(default_factory=lambda: Uniform(name="uniform"))
    """How much each response token counts."""

    pair_weighting: PairWeightingSlot = Field(default_factory=lambda: UniformPairs(name="uniform"))
    """How much each preference pair counts."""

    losses: Annotated[tuple[LossSlot, ...], Field(min_length=1, strict=False)]
    """What is minimised: the sum of coefficient x loss."""

    trainer: TrainerSlot
    """Which responses of a row are trained on."""

    rewards: Annotated[tuple[RewardSlot, ...], Field(strict=False)] = ()
    """What says how good a sampled response is: the sum of weight x reward. For trainers that sample."""

    advantage: AdvantageSlot | None = None
    """What makes of rewards how much likelier each token should become. For trainer `on_policy`."""

    sampler: SamplerSlot | None = None
    """What draws responses from the policy, and how many. For trainers that sample."""

    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """Optimizer, schedule, batch, checkpoints."""

    parallel: ParallelConfig = Field(default_factory=ParallelConfig)
    """How one training is spread over its processes; docs/parallel.md."""

    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    """What is measured before and after training."""

    def needs(self) -> Needs:
        """What the step must compute: the union of what the chosen components need."""
        return self.method().needs

    def wanted(self) -> Wanted:
        """What is read of a row."""
        needs = self.needs()
        return Wanted.of(
            self.trainer.responses + (("gold",) if needs.gold else ()),
            self.data,
            columns=needs.columns,
            token_columns=frozenset[str]().union(*(values.token_columns for values in needs.values)),
            nonnegative=needs.nonnegative,
            of_text={values.key: values.of_text for values in needs.values if isinstance(values, TextValues)},
            fields=frozenset[str]().union(*(reward.columns() for reward in self.rewards if not reward.abstains)),
            where_given=frozenset[str]().union(*(reward.columns() for reward in self.rewards if reward.abstains)),
        )

    def method(self) -> Method:
        """What the engine makes of the chosen components."""
        drawing = Drawing(self.sampler, self.rewards, self.advantage) if self.trainer.draws and self.sampler else None
        return Method(self.weighting, self.pair_weighting, self.losses, self.trainer, self.seed, drawing)

    def job(self, has_adapter: bool) -> Job:
        """All that the engine is asked to do; the learning rate is filled in by whether an adapter is trained."""
        rate = self.training.learning_rate or (5e-6 if has_adapter else 5e-7)
        training = self.training.model_copy(update={"learning_rate": rate})
        return Job(self.method(), self.model, training, self.sizes())

    def sizes(self) -> Sizes:
        """How much is worked on at once."""
        return Sizes(
            micro_batch=self.training.micro_batch_size,
            batch=self.evaluation.batch_size,
            max_length=self.data.max_length,
            held_out=0 if self.trainer.draws else self.evaluation.looked_at("rows"),
            samples=self.evaluation.looked_at("samples"),
            max_new_tokens=self.evaluation.max_new_tokens,
            tokens=self.training.micro_batch_tokens,
        )
