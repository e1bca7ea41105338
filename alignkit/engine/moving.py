"""A reference that follows the policy: when it moves, and what a resume needs of it.

A move belongs to the beginning of the step after, so a checkpoint between the two has the reference as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from alignkit.lazy import accelerate
from alignkit.loop.optimizer import load_parameters
from alignkit.models.base import ReferenceUpdate
from alignkit.models.policy import Policy
from alignkit.models.reference import Reference, mix_in
from alignkit.parallel.sharding import reshard
from alignkit.parallel.tensors import gathered

if TYPE_CHECKING:
    from torch import Tensor


PREFIX = "reference."
"""What names of its parameters begin with in a checkpoint."""


class MovingReference:
    """Moves a live reference towards the policy.

    Args:
        update: how often and how far.
        reference: with parameters of its own.
        policy: the model in training.

    Attributes:
        has_moved: whether the reference is another model than the first one.
    """

    def __init__(self, update: ReferenceUpdate, reference: Reference, policy: Policy) -> None:
        self.has_moved = False
        self._update = update
        self._reference = reference
        self._policy = policy

    def begin(self, step: int) -> bool:
        """Moves it before optimizer step `step` (from 0) if it is time, and says whether it did; called once for each
        step, by all processes."""
        is_due = step > 0 and step % self._update.every == 0
        if is_due:
            mix_in(self._reference, self._policy, self._update.mix)
            self.has_moved = True
        return is_due

    def state(self) -> dict[str, Tensor]:
        """Its parameters, whole, in the main process; nothing as long as it is the first reference."""
        if not self.has_moved:
            return {}
        reshard(self._reference.scorer)
        parameters = {PREFIX + name: value for name, value in self._reference.scorer.named_parameters()}
        return gathered(parameters, keep=accelerate.PartialState().is_main_process)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts `state` back; what in it is not of a reference is left alone.

        Raises:
            CheckpointError: it is of another model.
        """
        own = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
        if own:
            reshard(self._reference.scorer)
            load_parameters(dict(self._reference.scorer.named_parameters()), own, "the moved reference")
            self.has_moved = True
