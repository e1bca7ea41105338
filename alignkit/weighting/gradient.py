"""How much the end of the response reacts to each token: the gradient of a target by the token's embedding.

TI-DPO's importance (arXiv:2505.19653, Eq. 5 and 6). The released code reads the logits after the last token, which
predict what follows EOS; the default here is the paper's text, the logits that predict the last token, so that token's
own importance is 0 by causality and only a prior can weight it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.asks.needs import Needs
from alignkit.models.attribution import Attribution
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting, shares

if TYPE_CHECKING:
    from torch import Tensor


class Gradient(TokenWeighting):
    """Share of each token in the sensitivity of a target to the input embeddings.

    Formula: I_t / sum_s I_s, I_t = || d target / d e_t ||
    Paper: arXiv:2505.19653 Eq. 5 and 6
    """

    target: Literal["max_logit", "gold_logit", "response_nll", "log_ratio"] = "max_logit"
    """What is differentiated: the largest logit, the logit of the true last token, the response's summed NLL, or its
    summed log-ratio, through policy and reference both (through the policy alone that is the NLL)."""

    position: Literal["predict_last", "last_token"] = "predict_last"
    """Whose logits: the position that predicts the last response token (paper) or that token itself (released code)."""

    norm: Literal["l1", "l2", "grad_x_input"] = "l1"
    """Of the gradient over the embedding: sum of absolute values, Euclidean, or |gradient . embedding|."""

    model: Literal["policy", "reference"] = "policy"
    """Which model is asked; the policy's importances change as it learns, the reference's are computed once."""

    refresh_every: int = Field(1, gt=0)
    """Optimizer steps that a row's importances serve before they are computed anew. Saves time only where rows come
    again within that many steps: more than those of an epoch."""

    smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of a row's earlier importances that is kept when new ones come: an exponential moving average over the
    row's visits; 0 keeps none."""

    @model_validator(mode="after")
    def _position_has_a_target(self) -> Self:
        if self.position == "last_token" and self.target != "max_logit":
            raise PydanticCustomError(
                "position",
                "position 'last_token' goes with target 'max_logit' only: nothing follows the last token "
                f"that '{self.target}' could read; use position 'predict_last'",
            )
        return self

    @model_validator(mode="after")
    def _reference_is_asked_once(self) -> Self:
        if self.model == "policy":
            return self
        if self.target == "log_ratio":
            raise PydanticCustomError("model", "target 'log_ratio' asks policy and reference both; leave 'model' out")
        self.refuse_unused(["refresh_every", "smoothing"], "model 'reference', whose importances never change")
        return self

    @property
    def attribution(self) -> Attribution:
        """What the step is asked to compute."""
        return Attribution(self.target, self.position, self.norm, self.model, self.refresh_every, self.smoothing)

    def needs(self) -> Needs:
        return Needs(reference=self.target == "log_ratio", attributions=frozenset({self.attribution}))

    def raw(self, span: Span) -> Tensor:
        return shares(span.importance[self.attribution], span.mask_BS)
