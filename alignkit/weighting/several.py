"""What weightings share that are made of several others, each with a number of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic_core import PydanticCustomError

from alignkit.asks.needs import Needs
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting
from alignkit.weighting.part import Part

if TYPE_CHECKING:
    from torch import Tensor

Parts = Annotated[tuple[Part, ...], Field(min_length=2, strict=False)]
"""The weightings that another one is made of."""


class Several(TokenWeighting):
    """Base of those weightings. A part whose number is 0 is not asked for anything."""

    of: Parts
    """The weightings."""

    @property
    @abstractmethod
    def numbers(self) -> tuple[float, ...]:
        """Of each part, >= 0."""

    @property
    def asked(self) -> list[tuple[TokenWeighting, float]]:
        """The parts whose number is not 0, with it."""
        return [(part, number) for part, number in zip(self.of, self.numbers, strict=True) if number > 0]

    def needs(self) -> Needs:
        needs = Needs()
        for part, _ in self.asked:
            needs |= part.needs()
        return needs

    def parts(self, span: Span) -> Mapping[str, Tensor]:
        """Name -> [B, S] share of each part; of several with one name, all but the first with their number."""
        found: dict[str, Tensor] = {}
        for number, (part, _) in enumerate(self.asked, start=1):
            found[f"{part.name} {number}" if part.name in found else part.name] = part.share(span)
        return found


def refuse_odd(key: str, numbers: tuple[float, ...] | None, of: tuple[TokenWeighting, ...]) -> None:
    """Stops when there is not one number for each part.

    Raises:
        PydanticCustomError: says how many were expected.
    """
    if numbers is not None and len(numbers) != len(of):
        raise PydanticCustomError(
            "length", f"expected one number in '{key}' for each of {len(of)} weightings, got {len(numbers)}"
        )
