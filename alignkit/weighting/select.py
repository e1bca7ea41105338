"""Only some tokens count, those with the largest values of another weighting: SePO, Selective-DPO, 80/20 and masks in
general.

The share may be that of each response, or one threshold for all tokens of the optimizer step (Wang et al. 2025,
arXiv:2506.01939, as in TRL), which micro-batches and processes cannot change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.asks.needs import Needs
from alignkit.asks.whole_step import Facts, State, WholeStep
from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting
from alignkit.weighting.part import Part
from alignkit.weighting.surprisal import Surprisal

if TYPE_CHECKING:
    from torch import Tensor


class Select(TokenWeighting, WholeStep):
    """1 for the tokens with the largest values of the part `of`, 0 for the others.

    With `per: step` a response may keep no token; its weights are then equal, but for `rescale: raw`, which leaves them
    0. Where there is no step, as in an evaluation, the threshold is each response's own.

    Formula: 1[v_t among the largest top * T of the response], or 1[v_t >= the (1 - top)-quantile]; v values of `of`
    Paper: arXiv:2408.13518 (SePO), arXiv:2507.07725 (Selective-DPO), arXiv:2506.01939 (80/20)
    """

    of: Part = Field(default_factory=lambda: Surprisal(name="surprisal"))
    """The weighting by whose values tokens are chosen."""

    top: float = Field(0.2, gt=0, le=1)
    """Share of the tokens that count; usual 0.2 (80/20) to 0.4. 1 keeps all."""

    per: Literal["response", "step"] = "response"
    """What it is a share of: each response's tokens, or those of the whole optimizer step."""

    cut: Literal["ceil", "floor", "quantile"] | None = None
    """How many that are: rounded up, or down but at least one, of equal values the first; or all that reach the
    quantile (linear interpolation), those equal to it too. Null means ceil per response and quantile per step."""

    rejected: Literal["largest", "smallest"] = "largest"
    """Which values count in responses to be made less likely; smallest where values say how good a token is."""

    @model_validator(mode="after")
    def _a_step_has_a_quantile(self) -> Self:
        if self.per == "step" and self.cut not in (None, "quantile"):
            raise PydanticCustomError("cut", f"per: step cuts at a quantile; leave 'cut: {self.cut}' out")
        if self.per == "step" and self.of.needs().whole_step:
            raise PydanticCustomError(
                "of", f"per: step, and '{self.of.name}' looks at the whole step too; only one of them can"
            )
        return self

    def needs(self) -> Needs:
        return self.of.needs() | Needs(whole_step=frozenset({self} if self.per == "step" else ()))

    def observe(self, span: Span) -> Tensor:
        value_BS = self.of.raw(span)
        if self.rejected == "largest":
            return value_BS
        assert span.desirable_B is not None, "the step knows which response is which"
        return torch.where(span.desirable_B[:, None], value_BS, -value_BS)

    def decide(self, seen: Tensor, state: State, seed: int) -> tuple[Facts, State]:
        everything_1M = seen.reshape(1, -1)
        return {"kept": (seen >= quantile(everything_1M, ~everything_1M.isnan(), 1 - self.top)).double()}, state

    def raw(self, span: Span) -> Tensor:
        facts = span.decided.get(self, {})
        if "kept" in facts:
            return facts["kept"]
        value_BS = self.observe(span)
        if self.per == "step" or self.cut == "quantile":
            kept_BS = value_BS >= quantile(value_BS, span.mask_BS, 1 - self.top)
        else:
            kept_BS = self._largest(value_BS, span)
        return torch.where(torch.isfinite(value_BS), kept_BS.to(value_BS.dtype), torch.nan)

    def _largest(self, value_BS: Tensor, span: Span) -> Tensor:
        """[B, S] bool. Counts in millionths, as whole numbers: 0.7 of 10 tokens are 7 in any number format."""
        part_B1 = span.length_B[:, None] * round(self.top * MILLION)
        count_B1 = part_B1 // MILLION if self.cut == "floor" else (part_B1 + MILLION - 1) // MILLION
        order_BS = value_BS.masked_fill(~span.mask_BS, -torch.inf).sort(stable=True, dim=-1, descending=True).indices
        place_S = torch.arange(value_BS.shape[-1], device=value_BS.device)
        return torch.zeros_like(span.mask_BS).scatter(-1, order_BS, place_S < count_B1.clamp_min(1))


MILLION = 10**6


def quantile(value_BS: Tensor, mask_BS: Tensor, share: float) -> Tensor:
    """[B, 1] the value below which `share` of each row's values on the mask lie, by linear interpolation."""
    ascending_BS = value_BS.masked_fill(~mask_BS, torch.inf).sort(-1).values
    place_B1 = share * (mask_BS.sum(-1, keepdim=True) - 1).clamp_min(0)
    low_B1 = place_B1.long()
    below_B1 = ascending_BS.gather(-1, low_B1)
    above_B1 = ascending_BS.gather(-1, (low_B1 + 1).clamp_max(value_BS.shape[-1] - 1))
    part_B1 = (place_B1 - low_B1).to(value_BS.dtype)
    # Between two equal values, and beside padding, the lower one as it is.
    return torch.where(part_B1 > 0, below_B1 + part_B1 * (above_B1 - below_B1), below_B1)
