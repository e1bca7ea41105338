"""What the engine is asked to do. A recipe is one way to say it; a training on the side is another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from alignkit.advantages.base import Advantage
from alignkit.asks.needs import Needs
from alignkit.loop.config import TrainingConfig
from alignkit.loop.order import Cut
from alignkit.losses.base import Loss
from alignkit.models.base import ModelSource
from alignkit.pair_weighting.base import PairWeighting
from alignkit.rewards.base import Reward
from alignkit.rollouts.groups import Sampler
from alignkit.views.base import Trainer
from alignkit.weighting.base import TokenWeighting


@dataclass(frozen=True)
class Drawing:
    """How a policy comes to responses of its own to learn from.

    Attributes:
        sampler: draws groups of them.
        rewards: what says how good they are, summed.
        advantage: what makes one number per token of it; None where rewards only order responses.
    """

    sampler: Sampler
    rewards: tuple[Reward, ...]
    advantage: Advantage | None = None


@dataclass(frozen=True)
class Method:
    """How rows become an objective.

    Attributes:
        weighting: how much each response token counts.
        pair_weighting: how much each pair counts.
        losses: what is minimised, summed.
        view: which responses of a row are laid out, and what losses see of them.
        seed: of everything random.
        drawing: how it comes to responses; None where the data has them.
    """

    weighting: TokenWeighting
    pair_weighting: PairWeighting
    losses: tuple[Loss, ...]
    view: Trainer
    seed: int
    drawing: Drawing | None = None

    @cached_property
    def needs(self) -> Needs:
        """What must be computed: the union of what the parts need."""
        needs = self.weighting.all_needs() | self.pair_weighting.needs() | Needs(sampled=self.drawing is not None)
        for loss in self.losses:
            needs = needs | loss.needs()
        return needs

    @property
    def temperature(self) -> float:
        """What logits are divided by before they are scored: a policy gradient is that of the policy that samples."""
        return self.drawing.sampler.temperature if self.drawing and self.view.needs_advantage else 1.0


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
        tokens: most tokens of a training step's rows in one forward pass, in the place of a number of rows.
    """

    micro_batch: int
    batch: int
    max_length: int
    held_out: int
    samples: int
    max_new_tokens: int
    tokens: int | None = None

    @property
    def cut(self) -> Cut:
        """How a training step's rows go through the model."""
        return Cut(self.micro_batch, self.tokens)


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
