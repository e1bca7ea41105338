"""Tokens in which a response differs from the other one of its pair count more: DDPO of RLHF-V (Yu et al. 2023,
arXiv:2312.00849).

It was made for pairs of which one response is a correction of the other. Of unrelated responses it says little: almost
everything differs, and what happens to match is no sign of what was preferred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.asks.needs import Needs
from alignkit.asks.pairs import Changed
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Diff(TokenWeighting):
    """Weight by whether a token is in the other response too; for pairs.

    Formula: `changed` on tokens outside the blocks that both responses have (Ratcliff and Obershelp), `kept` inside;
        prefix: after the beginning that both have, and in it; then `rescale`, which leaves them as they are by default
    Paper: arXiv:2312.00849; the numbers are those of the authors' code
    """

    knows_prompt = False

    rescale: Literal["mean1", "sum1", "raw", "max1"] = "raw"
    """Final scale of each response; the method's weights are absolute. `sum1` is the authors' average form, `mean1` is
    for comparisons with other weightings."""

    mode: Literal["blocks", "prefix"] = "blocks"
    """What both responses have: matching blocks anywhere, or their common beginning alone, where steps of a solution
    are compared."""

    changed: float = Field(3.0, ge=0)
    """Weight of tokens that the other response does not have; usual 3 to 5."""

    kept: float = Field(1.0, ge=0)
    """Weight of tokens that both have; 0 leaves them out."""

    min_block: int = Field(3, gt=0)
    """Fewest tokens of a matching block; shorter ones, such as EOS alone, match by chance."""

    @model_validator(mode="after")
    def _blocks_are_compared(self) -> Self:
        if self.mode == "prefix":
            self.refuse_unused(["min_block"], "mode 'prefix'")
        return self

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if self.changed == self.kept == 0:
            raise PydanticCustomError("conflict", "'changed' and 'kept' are both 0, so no token counts; raise one")
        return self

    @property
    def _values(self) -> Changed:
        return Changed(mode=self.mode, min_block=self.min_block)

    def needs(self) -> Needs:
        return Needs(values=frozenset({self._values}))

    def raw(self, span: Span) -> Tensor:
        return self.kept + (self.changed - self.kept) * span.values[self._values]
