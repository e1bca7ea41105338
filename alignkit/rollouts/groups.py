"""Groups of responses to one prompt, which on-policy training learns from: what every sampler of them shares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from alignkit.registry import Component

if TYPE_CHECKING:
    from numpy import ndarray

    from alignkit.models.policy import Policy


@dataclass(frozen=True)
class Drawn:
    """One response.

    Attributes:
        ids: [T] int32 token ids, never empty; the end token is the last where it was drawn.
        logp_T: [T] float32 log-probs under which they were drawn, nats, temperature included.
    """

    ids: ndarray
    logp_T: ndarray


class Sampler(Component):
    """Base of the samplers."""

    is_exact: ClassVar[bool] = True
    """Whether the model in training draws itself, so that log-probs of its forward pass must agree with those of the
    drawing; other engines round otherwise, and how far they are apart is logged."""

    responses: int = Field(8, gt=0, le=100_000)
    """Responses to each prompt, a group. `training.batch_size` counts prompts."""

    temperature: float = Field(1.0, gt=0)
    """Divides the logits before sampling; dimensionless. A policy gradient scores at the same temperature."""

    top_k: int | None = Field(None, gt=0)
    """Keep the k likeliest tokens; null keeps all, which a policy gradient needs."""

    top_p: float | None = Field(None, gt=0, le=1)
    """Keep the likeliest tokens that together reach this probability; null keeps all, which a policy gradient needs."""

    max_new_tokens: int = Field(256, gt=0, le=131_072)
    """Longest response; tokens."""

    dead_groups: Literal["drop", "keep"] = "drop"
    """Groups whose rewards differ by at most 1e-6 say nothing where responses are compared with each other: drop them
    from loss and denominator, or keep them there, where advantages are 0 but for penalties in the reward."""

    refill_rounds: int = Field(0, ge=0, le=1000)
    """Times that other prompts are drawn for, as many as groups were dropped; 0 trains on what is left."""

    def check(self) -> None:
        """Finds out before data and model load whether responses can be drawn at all.

        Raises:
            AlignkitError: they cannot.
        """

    def begin(self, policy: Policy, step: int) -> None:
        """Before the drawings for a step; called by every process, also by one that has no prompts then.

        Args:
            policy: the model as it is now.
            step: optimizer step, from 0.

        Raises:
            AlignkitError: nothing can be drawn from it.
        """

    @abstractmethod
    def sample(
        self, prompts: Sequence[ndarray], seeds: Sequence[Sequence[int]], policy: Policy, step: int
    ) -> list[list[Drawn]]:
        """`responses` responses to each prompt.

        Args:
            prompts: token ids of each prompt.
            seeds: for each prompt one seed per response, which decides all of its randomness.
            policy: the model as it is now.
            step: optimizer step, from 0, that they are drawn for.
        """
