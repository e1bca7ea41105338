"""Prompt influence: how far a token's distribution moves when the prompt is swapped. Ours.

A word decides because it is right for this question alone, so the reference must already give it another chance under
another question; filler, phrases and harmless habits keep theirs. It takes K passes of the reference before training,
which are kept on disk, and nothing in a step. Traps: it is blind to what is preferred whatever the prompt (tone,
length, safety); words copied from the prompt get weight; most weight lies on few tokens, so beta means much more than
with equal weights: compare at equal KL, and with weighting `shuffled`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.asks.prompt_influence import PromptInfluence
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Influence(TokenWeighting):
    """How much the token's distribution hangs on the prompt, under the reference.

    Formula: I_t^sharpen + floor * mean_s I_s^sharpen;
        kl: I_t = KL(ref(.|x, y_<t) || mean_k ref(.|x_k, y_<t));
        pmi: I_t = |log ref(y_t|x, y_<t) - log mean_k ref(y_t|x_k, y_<t)|; x_k other prompts of the training rows
    Paper: none; ours
    """

    knows_prompt = False

    form: Literal["kl", "pmi"] = "kl"
    """What is compared: whole distributions, or the token's own probability, which needs more prompts."""

    prompts: int = Field(4, ge=1, le=64)
    """Other prompts, K, and so many passes of the reference over the data; usual 1 to 16."""

    floor: float = Field(0.01, ge=0)
    """What every token gets beside, as a share of the response's mean; dimensionless, usual 0 to 1."""

    sharpen: float = Field(1.0, gt=0)
    """Exponent; below 1 evens the weights out, above 1 picks few tokens; usual 0.5 to 2."""

    @property
    def _values(self) -> PromptInfluence:
        return PromptInfluence(form=self.form, prompts=self.prompts)

    def needs(self) -> Needs:
        return Needs(values=frozenset({self._values}))

    def raw(self, span: Span) -> Tensor:
        influence_BS = span.values[self._values].abs() ** self.sharpen
        mean_B1 = influence_BS.masked_fill(~span.mask_BS, 0.0).sum(-1, keepdim=True) / span.length_B[:, None]
        return influence_BS + self.floor * mean_B1
