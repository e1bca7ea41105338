"""What hidden states and attention say of the response tokens, as one number each: a distance, a share of attention.

A reading is taken where the states are, in the forward pass that trains or, under the reference, before training. What
needs one holds it in its needs and finds the answer under the same key; that of a plugin is no different. Nobody's
reading costs nothing: no state is kept that none asks for.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from alignkit.lazy import torch
from alignkit.models.layout import Batch
from alignkit.registry import Section

if TYPE_CHECKING:
    from torch import Tensor


class States:
    """What a forward pass leaves at the response tokens of a batch, without gradient.

    Args:
        batch: what was scored.
        hidden_ND: [N, D] last hidden states at the positions that predict the batch's response tokens, packed.
        attention_BRTT: [B, R, T, T] what each response token's own position attends to, of the last layer that
            attends: a mean over its heads, the columns of the prompt left out, so that a row sums to at most 1; 0 off
            the mask. None when no reading asks for it.
        num_responses: how many responses of each example are looked at, from the first; None for all.
    """

    def __init__(
        self, batch: Batch, hidden_ND: Tensor, attention_BRTT: Tensor | None = None, num_responses: int | None = None
    ) -> None:
        self.mask_BRT = batch.mask_BRT[:, :num_responses]
        self._slot_BRT = batch.packed.slot[:, :num_responses]
        self._hidden_ND = hidden_ND
        self._attention_BRTT = None if attention_BRTT is None else attention_BRTT[:, :num_responses]

    @cached_property
    def hidden_BRTD(self) -> Tensor:
        """[B, R, T, D] float32 last hidden states at the positions that predict the tokens, 0 off the mask."""
        hidden_ND = self._hidden_ND.float()
        return torch.cat([hidden_ND, hidden_ND.new_zeros(1, hidden_ND.shape[-1])])[self._slot_BRT]

    @property
    def attention_BRTT(self) -> Tensor:
        """[B, R, T, T] float32; what the token at the third place attends to."""
        assert self._attention_BRTT is not None, "a reading that reads attention must say so"
        return self._attention_BRTT

    @property
    def sums_BRD(self) -> Tensor:
        """[B, R, D] float64, on the CPU: hidden states at the predicting positions, summed over each response."""
        hidden_ND = self._hidden_ND.cpu().double()
        counts_M = self.mask_BRT.sum(-1).flatten().cpu()
        assert counts_M.sum() == len(hidden_ND), "of all responses: their tokens lie one after the other"
        sums_MD = torch.segment_reduce(hidden_ND, "sum", lengths=counts_M)
        return sums_MD.view(*self.mask_BRT.shape[:2], -1)

    @property
    def means_BRD(self) -> Tensor:
        """[B, R, D] float64, on the CPU: their mean over each response's own tokens."""
        return self.sums_BRD / self.mask_BRT.sum(-1, keepdim=True).cpu()


class Reading(Section):
    """Base of the readings. Its parameters are part of the request: two that differ are two answers."""

    reads_attention: ClassVar[bool] = False
    """Whether it looks at attention, which is computed again for it: no fast kernel gives it."""

    @property
    def words(self) -> str:
        """What it is, as `alignkit describe` says it of a component that needs it: the start of its docstring."""
        return (type(self).__doc__ or type(self).__name__).split(",")[0]

    def refusal(self, trainer: str, gives: str) -> str | None:
        """Why it cannot be had of what this trainer gives, and what would fit; None where it can."""
        return None

    @abstractmethod
    def read(self, states: States) -> Tensor:
        """[B, R, T] float32, one number per response token; what lies off the mask is ignored."""


def ches(chosen_ND: Tensor, rejected_ND: Tensor) -> Tensor:
    """[N] CHES of N pairs: <w, l> - |w|^2, of what their hidden states come to, [N, D] each (arXiv:2410.08847)."""
    return (chosen_ND * (rejected_ND - chosen_ND)).sum(-1)
