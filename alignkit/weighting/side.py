"""One weight for chosen and one for rejected responses: DPO-Shift (arXiv:2502.07599), and MaPPO's with a data column.

Pushing rejected responses down a little less leaves the chosen ones likelier, at the price of a smaller margin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.asks.columns import RowColumn
from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Side(TokenWeighting):
    """Constant weight of all tokens of a response, by whether it is desirable.

    Formula: `chosen` in a chosen response, `rejected`, or the data's number, in a rejected one; then `rescale`, which
        leaves them as they are by default
    Paper: arXiv:2502.07599
    """

    knows_prompt = False

    rescale: Literal["mean1", "sum1", "raw", "max1"] = "raw"
    """Final scale of each response; any other than `raw` takes the constants away."""

    chosen: float = Field(1.0, ge=0)
    """Weight of chosen, or desirable, responses."""

    rejected: float = Field(0.95, ge=0)
    """Weight of rejected, or undesirable, responses, the paper's lambda; usual 0.55 to 0.99."""

    rejected_column: str | None = Field(None, min_length=1)
    """Data column with a number >= 0 per row in the place of `rejected`: MaPPO's gap of two rewards."""

    @model_validator(mode="after")
    def _one_weight_of_rejected(self) -> Self:
        if self.rejected_column is not None and self.rejected != type(self).model_fields["rejected"].default:
            raise PydanticCustomError(
                "conflict", "'rejected' and 'rejected_column' both weigh rejected responses; leave one out"
            )
        return self

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if self.chosen == self.rejected == 0 and self.rejected_column is None:
            raise PydanticCustomError("conflict", "'chosen' and 'rejected' are both 0, so no token counts; raise one")
        return self

    def needs(self) -> Needs:
        if self.rejected_column is None:
            return Needs()
        column = frozenset({self.rejected_column})
        return Needs(columns=column, nonnegative=column, values=frozenset({self._values}))

    @property
    def _values(self) -> RowColumn:
        assert self.rejected_column is not None
        return RowColumn(column=self.rejected_column)

    def raw(self, span: Span) -> Tensor:
        assert span.desirable_B is not None, "the step knows which response is which"
        rejected = self.rejected if self.rejected_column is None else span.values[self._values]
        ones_BS = torch.ones(span.mask_BS.shape, device=span.mask_BS.device)
        return torch.where(span.desirable_B[:, None], self.chosen * ones_BS, rejected * ones_BS)
