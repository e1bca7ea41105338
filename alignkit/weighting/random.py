"""Random weights: the control that any weighting has to beat (TI-DPO's ablation row "random weight")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.seeds import derive
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Random(TokenWeighting):
    """One uniform draw per token, fixed for each response over the whole run.

    The paper states neither the distribution nor whether it redraws. A redraw would average out over epochs, so fixed
    draws are the stronger control.

    Formula: W_t ~ U(0, 1)
    Paper: arXiv:2505.19653 Table 2
    """

    def raw(self, span: Span) -> Tensor:
        return fixed_draws(span)


def fixed_draws(span: Span, purpose: str = "") -> Tensor:
    """[B, S] uniform in [0, 1) of each token of the span, by its response's seed and what they are for; 0 off the mask.

    Drawn on the CPU, row by row, so that device, padding and neighbours cannot change a draw: a shorter row of draws is
    the beginning of a longer one.
    """
    assert len(span.seeds_B) == len(span.mask_BS), "one seed per row"
    seeds = [derive(seed, purpose) if purpose else seed for seed in span.seeds_B]
    width = span.mask_BS.shape[-1]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    draws_BS = torch.stack([torch.rand(width, generator=generator) for generator in generators])
    return draws_BS.to(span.mask_BS.device).gather(-1, span.index_BS.clamp_min(0)).masked_fill(~span.mask_BS, 0.0)
