"""Instructions that can be checked by counting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from alignkit.rewards.base import Reward, Sample
from alignkit.rewards.demands import Demands

if TYPE_CHECKING:
    from typing import Self


class Constraints(Demands, Reward):
    """Share of what is demanded that the response's text meets.

    Demands stand in the recipe, for all rows, or in a column, a mapping with the same keys, or in both. A row whose
    column holds anything else (an unknown key, a number as text) gives no score, and so does one of which nothing is
    demanded; a null in it is a key that is not there, as tables have it.

    Formula: met / demanded, or 1 if all are met and else 0
    Paper: arXiv:2311.07911 (IFEval), of whose kinds these are some
    """

    column: str | None = Field(None, min_length=1)
    """Data column with a row's own demands, a mapping; null for those of the recipe alone."""

    all_or_nothing: bool = False
    """Whether only a response that meets all demands is rewarded."""

    @model_validator(mode="after")
    def _demands_something(self) -> Self:
        if self.column is None and not list(self.met("")):
            known = ", ".join(Demands.model_fields)
            raise PydanticCustomError("demands", f"nothing is demanded; give a column or some of {known}")
        return self

    def columns(self) -> frozenset[str]:
        return frozenset() if self.column is None else frozenset({self.column})

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [self._value(sample) for sample in samples]

    def _value(self, sample: Sample) -> float | None:
        own = Demands() if self.column is None else _demands(sample.columns.get(self.column))
        if own is None:
            return None
        met = [*self.met(sample.response), *own.met(sample.response)]
        share = sum(met) / len(met) if met else None
        return share if share is None or not self.all_or_nothing else float(share == 1)


def _demands(value: object) -> Demands | None:
    """What a column holds; None where it is no mapping of demands."""
    if not isinstance(value, Mapping):
        return None
    try:
        return Demands.model_validate({key: one for key, one in value.items() if one is not None})
    except ValidationError:
        return None
