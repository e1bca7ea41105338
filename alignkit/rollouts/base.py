"""What every anchor shares: how its tokens are drawn, and when.

There are two kinds, and a plugin derives from one of them: whole responses that exist before the step
(`ResponseAnchor`), and tokens drawn along the first response within the step's forward pass (`TokenAnchor`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from alignkit.data.rows import TokenRow
from alignkit.registry import Component

if TYPE_CHECKING:
    from numpy import ndarray

    from alignkit.rollouts.sampler import Sampler


class Anchor(Component):
    """Base of the anchors. Token ids are drawn without gradient; their log-probs are then scored with it."""

    is_response: ClassVar[bool]
    """Whether it is a response of its own, laid out beside the others."""

    temperature: float = Field(0.8, gt=0)
    """Divides the logits before sampling; dimensionless, usual 0.5 to 1.2."""

    top_k: int | None = Field(50, gt=0)
    """Keep the k likeliest tokens; null keeps all."""

    top_p: float | None = Field(0.95, gt=0, le=1)
    """Keep the likeliest tokens that together reach this probability; null keeps all."""

    @property
    def longest(self) -> int:
        """Most tokens of an anchor that is a response of its own."""
        return 0


class ResponseAnchor(Anchor):
    """Base of the anchors that are whole responses, made for a window of optimizer steps at once.

    The reference scores an anchor when it is made, the policy re-scores it with gradient in each step.
    """

    is_response = True

    max_new_tokens: int = Field(64, gt=0, le=131_072)
    """Longest anchor; tokens."""

    refresh_every: int = Field(8, gt=0)
    """Draw the anchors of this many optimizer steps at once; steps. Larger is cheaper and more off-policy."""

    @property
    def longest(self) -> int:
        return self.max_new_tokens

    @abstractmethod
    def respond(self, rows: Sequence[TokenRow], sampler: Sampler) -> list[ndarray]:
        """Token ids of one response per row, never empty and at most `max_new_tokens`.

        Args:
            rows: data rows.
            sampler: draws from the policy as it is now, with the randomness of each row fixed.
        """


class TokenAnchor(Anchor):
    """Base of the anchors whose tokens are drawn where the first response's are predicted, each after the true ones."""

    is_response = False
