"""What weightings share that ask a model's hidden states or attention."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from alignkit.asks.needs import Needs
from alignkit.asks.readings import ReferenceReading
from alignkit.models.readings import Reading
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class ByReading(TokenWeighting):
    """Base of the weightings that are a reading of hidden states or attention."""

    knows_prompt = False

    model: Literal["policy", "reference"] = "policy"
    """Which model is asked; the policy in each step, the reference once, before training."""

    @property
    @abstractmethod
    def reading(self) -> Reading:
        """What it is asked."""

    def needs(self) -> Needs:
        if self.model == "policy":
            return Needs(readings=frozenset({self.reading}))
        return Needs(values=frozenset({ReferenceReading(reading=self.reading)}))

    def raw(self, span: Span) -> Tensor:
        if self.model == "policy":
            return span.readings[self.reading]
        return span.values[ReferenceReading(reading=self.reading)]
