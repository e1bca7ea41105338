"""What every trainer shares: the responses it lays out and the view it gives to the losses."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from alignkit.registry import Component
from alignkit.scores import RowScores, Sees, View


class Trainer(Component):
    """Base of the trainers."""

    gives: ClassVar[Sees]
    """What a loss must see to be trained with."""

    responses: ClassVar[tuple[str, ...]]
    """The fields of a data row that are laid out, in this order."""

    reads: ClassVar[str]
    """The columns of the data it can be given, in words."""

    @abstractmethod
    def view(self, scores: RowScores) -> View:
        """What losses get to see of a micro-batch."""
