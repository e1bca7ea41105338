"""What an anchor draws responses with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.models.generation import sample
from alignkit.models.head import Draw
from alignkit.models.policy import Policy
from alignkit.seeds import derive

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True)
class Sampler:
    """The policy at one optimizer step.

    Attributes:
        policy: the model as it is now, with its tokenizer.
        seed: the run's seed.
        step: optimizer step, from 0, at which the window begins.
    """

    policy: Policy
    seed: int
    step: int

    def sample(self, rows: Sequence[TokenRow], draw: Draw, max_new_tokens: int) -> list[ndarray]:
        """One response to each row's prompt; its randomness is the row's and the step's."""
        seeds = [derive(self.seed, "anchor", self.step, row.index) for row in rows]
        prompts = [row.prompt for row in rows]
        return sample(self.policy.model, prompts, seeds, draw, max_new_tokens=max_new_tokens, eos_id=self.policy.end_id)
