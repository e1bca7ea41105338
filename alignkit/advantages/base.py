"""What every advantage shares: the rewards of a step's groups in, one number per token out."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit.registry import Component

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Groups:
    """The samples of one drawing, over all processes: P prompts with G responses each.

    Attributes:
        rewards_PG: [P, G] float64 total rewards; 0 where there is none.
        scored_PG: [P, G] bool; whether there is one.
        mask_PGT: [P, G, T] bool; True on response tokens.
        penalty_PGT: [P, G, T] float64, what is taken off the reward at each token, coefficient x log(policy /
            reference) under the sampling policy, 0 off the mask; None where nothing is.
    """

    rewards_PG: Tensor
    scored_PG: Tensor
    mask_PGT: Tensor
    penalty_PGT: Tensor | None = None

    @property
    def penalised_PG(self) -> Tensor:
        """[P, G] total rewards less the whole penalty of each response; 0 where there is no reward."""
        if self.penalty_PGT is None:
            return self.rewards_PG
        return (self.rewards_PG - self.penalty_PGT.sum(-1)).where(self.scored_PG, 0.0)


class Advantage(Component):
    """Base of the advantages."""

    @property
    def is_relative(self) -> bool:
        """Whether responses are compared with others of their group, so that equal rewards say nothing."""
        return True

    @abstractmethod
    def per_token(self, groups: Groups) -> Tensor:
        """[P, G, T] float64; how much likelier each token should become. What lies off the mask, or belongs to a
        response without a reward, is ignored."""
