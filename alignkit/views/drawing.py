"""What trainers share that make their own rows: responses are sampled, scored by rewards, and become training rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from pydantic import Field

from alignkit.data.rows import TokenRow
from alignkit.rollouts.rollout import Group
from alignkit.views.base import Trainer


class DrawingTrainer(Trainer):
    """Base of the trainers that learn from the policy's own responses. The data gives prompts alone.

    `training.batch_size` counts prompts, `training.micro_batch_size` the rows that come of their responses.
    """

    draws = True
    responses = ()
    reads = "prompt"

    updates_per_rollout: int = Field(1, gt=0, le=1000)
    """Optimizer steps that each response is trained on, the mu of GRPO. Log-probs and token weights of the policy that
    drew it are kept for them."""

    samples_every: int | None = Field(10, gt=0)
    """Write `samples/step_N.jsonl` every so many steps, and at the first; null writes none."""

    samples_groups: int = Field(4, gt=0)
    """Prompts whose responses are written there."""

    @property
    def updates(self) -> int:
        return self.updates_per_rollout

    @abstractmethod
    def rows(self, groups: Sequence[Group]) -> list[TokenRow]:
        """The training rows that come of some prompts' responses, each with an index of its own.

        Args:
            groups: those of a drawing, in their order; responses without a reward among them.
        """
