"""Several weightings at once, each with a share of the total weight: one that is blind to something, and equal weights.

`hybrid` is the mixture of two that TI-DPO has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.self_log_ratio import SelfLogRatio
from alignkit.weighting.several import Parts, Several, refuse_odd
from alignkit.weighting.uniform import Uniform

if TYPE_CHECKING:
    from torch import Tensor


class Mix(Several):
    """Mixture of other weightings.

    Each is scaled to sum 1 over the response before, so absolute weights (those of `side`) are equal weights here. The
    share of a part that is zero on the whole response goes to the others.

    Formula: sum_i shares_i * p_it, sum_t p_it = 1, then `rescale`
    Paper: none; ours
    """

    of: Parts = Field(default_factory=lambda: (SelfLogRatio(name="self"), Uniform(name="uniform")))
    """The weightings."""

    shares: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(strict=False)] | None = None
    """Share of each in the total weight, together 1; null means equal ones. A part with 0 is not asked for anything."""

    @model_validator(mode="after")
    def _shares_are_whole(self) -> Self:
        refuse_odd("shares", self.shares, self.of)
        if self.shares is not None and abs(sum(self.shares) - 1) > 1e-6:
            raise PydanticCustomError("sum", f"shares: expected numbers that sum to 1, got {sum(self.shares):g}")
        return self

    @property
    def numbers(self) -> tuple[float, ...]:
        return self.shares or (1 / len(self.of),) * len(self.of)

    def raw(self, span: Span) -> Tensor:
        return torch.stack([share * part.share(span) for part, share in self.asked]).sum(0)
