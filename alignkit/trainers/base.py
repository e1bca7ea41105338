"""What every trainer shares: the responses it lays out and the view it gives to the losses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from alignkit.registry import Component
from alignkit.scores import PairScores, ResponseScores, TokenScores

if TYPE_CHECKING:
    from torch import Tensor


class Trainer(Component):
    """Base of the trainers."""

    gives: ClassVar[Literal["pairs", "responses"]]
    """What a loss must see to be trained with."""

    responses: ClassVar[tuple[str, ...]]
    """The fields of a data row that are laid out, in this order."""

    @abstractmethod
    def scores(self, responses: Sequence[TokenScores], columns: Mapping[str, Tensor]) -> PairScores | ResponseScores:
        """The view of one batch that losses get; `responses` in the order of the class's list, an anchor last."""
