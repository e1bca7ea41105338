"""What is known of a sampled response once it is scored, and the group of those to one prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow

if TYPE_CHECKING:
    from numpy import ndarray

ALIVE = 1e-6
"""How far apart the rewards of a group must be to prefer one response to another; less is rounding."""


@dataclass(frozen=True)
class Rollout:
    """A sampled response.

    Attributes:
        ids: [T] int32 token ids.
        logp_T: [T] float32 log-probs that it was drawn with, nats.
        text: the response as text.
        finished: whether it ended by itself.
        scores: what each reward of the recipe says of it, None where it has no score.
        reward: the weighted sum of these; None where it cannot be said.
        per_token: name -> [T] float32 that its row brings along: `advantage`, `sampled_logp`; before, what is taken off
            the reward at each token (`penalty`), where something is.
    """

    ids: ndarray
    logp_T: ndarray
    text: str
    finished: bool
    scores: tuple[float | None, ...] = ()
    reward: float | None = None
    per_token: Mapping[str, ndarray] = field(default_factory=dict)

    @property
    def advantage(self) -> float | None:
        """Mean over its tokens; None where it has none."""
        advantage_T = self.per_token.get("advantage")
        return None if advantage_T is None else float(advantage_T.mean())


@dataclass(frozen=True)
class Group:
    """The responses to one prompt.

    Attributes:
        row: the prompt.
        rollouts: its responses.
        seed: of what is chosen among them.
    """

    row: TokenRow
    rollouts: tuple[Rollout, ...]
    seed: int

    @property
    def rewards(self) -> list[float]:
        """Of the responses that have one."""
        return [one.reward for one in self.rollouts if one.reward is not None]

    @property
    def is_dead(self) -> bool:
        """Whether no response is better than another: by the range, as a mean or a deviation has rounding in it."""
        return not self.rewards or max(self.rewards) - min(self.rewards) <= ALIVE
