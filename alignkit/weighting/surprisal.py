"""Tokens that the model did not expect count more: a cheap stand-in for importance, without a backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from alignkit.asks.needs import Needs
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Surprisal(TokenWeighting):
    """Negative log-prob of each token, as a constant.

    Formula: -log pi(y_t | x, y_<t)
    Paper: none; a proxy in public studies of TI-DPO (arXiv:2505.19653)
    """

    knows_prompt = False

    model: Literal["policy", "reference"] = "policy"
    """Whose surprise: the policy's changes as it learns, the reference's does not."""

    def needs(self) -> Needs:
        return Needs(reference=self.model == "reference")

    def raw(self, span: Span) -> Tensor:
        logp_BS = span.policy_BS if self.model == "policy" else span.reference_BS
        assert logp_BS is not None, "needs() asked for it"
        return (-logp_BS).clamp_min(0)  # rounding can leave a log-prob just above 0
