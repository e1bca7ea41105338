"""How much the end of the response reacts to each token: the gradient of a target by the token's embedding.

TI-DPO's importance (arXiv:2505.19653, Eq. 5 and 6). The released code reads the logits after the last token, which
predict what follows EOS; the default here is the paper's text, the logits that predict the last token, so that token's
own importance is 0 by causality and only a prior can weight it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from alignkit.scores import Attribution, Needs, Span
from alignkit.weighting.base import TokenWeighting, shares

if TYPE_CHECKING:
    from torch import Tensor


class Gradient(TokenWeighting):
    """Share of each token in the sensitivity of a target to the input embeddings.

    Formula: I_t / sum_s I_s, I_t = || d target / d e_t ||
    Paper: arXiv:2505.19653 Eq. 5 and 6
    """

    target: Literal["max_logit", "gold_logit", "response_nll"] = "max_logit"
    """What is differentiated: the largest logit, the logit of the true last token, or the response's summed NLL."""

    position: Literal["predict_last", "last_token"] = "predict_last"
    """Whose logits: the position that predicts the last response token (paper) or that token itself (released code)."""

    norm: Literal["l1", "l2", "grad_x_input"] = "l1"
    """Of the gradient over the embedding: sum of absolute values, Euclidean, or |gradient . embedding|."""

    model: Literal["policy", "reference"] = "policy"
    """Which model is asked; the policy's importances change as it learns."""

    @model_validator(mode="after")
    def _position_has_a_target(self) -> Self:
        if self.position == "last_token" and self.target != "max_logit":
            raise PydanticCustomError(
                "position",
                "position 'last_token' goes with target 'max_logit' only: nothing follows the last token "
                f"that '{self.target}' could read; use position 'predict_last'",
            )
        return self

    @property
    def attribution(self) -> Attribution:
        """What the step is asked to compute."""
        return Attribution(self.target, self.position, self.norm, self.model)

    def needs(self) -> Needs:
        return Needs(attributions=frozenset({self.attribution}))

    def raw(self, span: Span) -> Tensor:
        return shares(span.importance[self.attribution], span.mask_BS)
