"""Attention-based credit (ABC, arXiv:2402.00782): tokens weigh by what the last layer attends to.

ABC shares a terminal reward by the attention of a reward model's last token; asked of the policy it is ABC-D. Attention
gathers where it has nothing to say: the first token, punctuation and the end token are its sinks, so it says less of
what matters than it seems to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from alignkit.lazy import torch
from alignkit.models.readings import Reading, States
from alignkit.weighting.by_reading import ByReading

if TYPE_CHECKING:
    from torch import Tensor


class LastRow(Reading):
    """what the last token of the response attends to, without gradient.

    Formula: a_Tt, the last layer's attention, a mean over its heads
    """

    reads_attention = True

    def read(self, states: States) -> Tensor:
        attention_BRTT = states.attention_BRTT
        last_BR1 = (states.mask_BRT.sum(-1, keepdim=True) - 1).clamp_min(0)
        place_BR1T = last_BR1[..., None].expand(-1, -1, 1, attention_BRTT.shape[-1])
        return attention_BRTT.gather(2, place_BR1T).squeeze(2)


class Received(Reading):
    """what a token receives of the attention of the tokens from itself on, without gradient.

    Formula: mean over s >= t of a_st, the last layer's attention, a mean over its heads
    """

    reads_attention = True

    def read(self, states: States) -> Tensor:
        length_BR1 = states.mask_BRT.sum(-1, keepdim=True)
        place_T = torch.arange(states.mask_BRT.shape[-1], device=length_BR1.device)
        return states.attention_BRTT.sum(2) / (length_BR1 - place_T).clamp_min(1)


READINGS: dict[str, type[Reading]] = {"last": LastRow, "received": Received}


class Attention(ByReading):
    """Attention of the last layer within the response, a mean over its heads, as a constant.

    Formula: last: a_Tt, what the last token attends to; received: mean over s >= t of a_st, what a token receives on
        average of itself and those behind it; then `rescale`
    Paper: arXiv:2402.00782; the released code takes the row of the token that predicts, one before
    """

    of: Literal["last", "received"] = "last"
    """Whose attention: that of the last token, or of each token that comes later, the token itself included."""

    @property
    def reading(self) -> Reading:
        return READINGS[self.of]()
