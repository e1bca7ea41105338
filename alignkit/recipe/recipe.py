"""The recipe: what a run is, whole. Parsing it builds its components."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from alignkit.data.config import DataConfig
from alignkit.evaluation.config import EvaluationConfig
from alignkit.losses import LossSlot
from alignkit.models import ModelSlot
from alignkit.needs import Needs
from alignkit.pair_weighting import PairWeightingSlot
from alignkit.pair_weighting.uniform import Uniform as UniformPairs
from alignkit.registry import Section
from alignkit.trainers import TrainerSlot
from alignkit.trainers.config import TrainingConfig
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

    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """Optimizer, schedule, batch, checkpoints."""

    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    """What is measured before and after training."""

    def needs(self) -> Needs:
        """What the step must compute: the union of what the chosen components need."""
        needs = self.weighting.all_needs() | self.pair_weighting.needs()
        for loss in self.losses:
            needs = needs | loss.needs()
        return needs
