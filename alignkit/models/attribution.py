"""What can be asked of a model's graph: how much each input token matters to a response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Attribution:
    """One way to ask how much each input token matters to a response: the gradient of a target by its embedding.

    Attributes:
        target: the scalar that is differentiated; `log_ratio` through policy and reference both.
        position: whose logits, for targets of the last token.
        norm: of the gradient over the embedding.
        model: which model is asked.
        refresh_every: optimizer steps that a row's importances serve before they are computed anew.
        smoothing: share of a row's earlier importances that is kept when they are.
    """

    target: Literal["max_logit", "gold_logit", "response_nll", "log_ratio"] = "max_logit"
    position: Literal["predict_last", "last_token"] = "predict_last"
    norm: Literal["l1", "l2", "grad_x_input"] = "l1"
    model: Literal["policy", "reference"] = "policy"
    refresh_every: int = 1
    smoothing: float = 0.0

    @property
    def is_static(self) -> bool:
        """The model it asks never changes, so that it is known before training."""
        return self.model == "reference"

    @property
    def is_remembered(self) -> bool:
        """What a row was given is needed when the row comes again."""
        return self.refresh_every > 1 or self.smoothing > 0
