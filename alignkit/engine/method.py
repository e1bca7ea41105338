"""What the engine is asked to do. A recipe is one way to say it; a training on the side is another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from alignkit.asks.needs import Needs
from alignkit.loop.config import TrainingConfig
from alignkit.losses.base import Loss
from alignkit.models.base import ModelSource
from alignkit.pair_weighting.base import PairWeighting
from alignkit.views.base import Trainer
from alignkit.weighting.base import TokenWeighting


@dataclass(frozen=True)
class Method:
    """How rows become an objective.

    Attributes:
        weighting: how much each response token counts.
        pair_weighting: how much each pair counts.
        losses: what is minimised, summed.
        view: which responses of a row are laid out, and what losses see of them.
        seed: of everything random.
    """

    weighting: TokenWeighting
    pair_weighting: PairWeighting
    losses: tuple[Loss, ...]
    view: Trainer
    seed: int

    @cached_property
    def needs(self) -> Needs:
        """What must be computed: the union of what the parts need."""
        needs = self.weighting.all_needs() | self.pair_weighting.needs()
        for loss in self.losses:
            needs = needs | loss.needs()
        return needs


@dataclass(frozen=True)
class Sizes:
    """How much is worked on at once, and how much there will be.

    Attributes:
        micro_batch: rows in one forward pass with a graph.
        batch: rows in one forward pass without.
        max_length: longest prompt + response; tokens.
        held_out: held-out rows that are scored.
        samples: held-out prompts that a response is sampled for.
        max_new_tokens: longest of these; tokens.
    """

    micro_batch: int
    batch: int
    max_length: int
    held_out: int
    samples: int
    max_new_tokens: int


@dataclass(frozen=True)
class Job:
    """A method, the model that it trains, and for how long.

    Attributes:
        method: how rows become an objective.
        model: where the policy and its reference come from.
        training: the loop's configuration, its learning rate resolved.
        sizes: how much is worked on at once.
    """

    method: Method
    model: ModelSource
    training: TrainingConfig
    sizes: Sizes
