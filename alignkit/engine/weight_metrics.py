"""What a log should say about token weights: how concentrated they are, and whether they only follow the position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.ranks import average_ranks

if TYPE_CHECKING:
    from torch import Tensor


def weight_metrics(weights_BT: Tensor, mask_BT: Tensor) -> dict[str, tuple[float, float]]:
    """Sum over responses and number of responses of each metric.

    `ess`: effective sample size (sum w)^2 / sum w^2 per token; 1 for equal weights, 1 / T for one spike.
    `max`: the largest weight.
    `position_spearman`: rank correlation of weight and position; 0 where all weights are equal.

    Args:
        weights_BT: [B, T] weights, 0 off the mask, any scale.
        mask_BT: [B, T] bool; True on response tokens. Rows without any are not counted.
    """
    weights_BT, mask_BT = weights_BT.detach().cpu().double(), mask_BT.cpu()  # not every accelerator has float64
    kept_B = mask_BT.any(-1)
    weights_BT, mask_BT = weights_BT[kept_B], mask_BT[kept_B]
    tiny = torch.finfo(weights_BT.dtype).tiny
    ess_B = weights_BT.sum(-1) ** 2 / (weights_BT.square().sum(-1) * mask_BT.sum(-1)).clamp_min(tiny)
    values = {
        "weights/ess": ess_B,
        "weights/max": weights_BT.amax(-1),
        "weights/position_spearman": _position_spearman_B(weights_BT, mask_BT),
    }
    return {name: (float(value_B.sum()), float(len(value_B))) for name, value_B in values.items()}


def silent_metrics(span: Span) -> dict[str, tuple[float, float]]:
    """Number of importance rows that are zero everywhere, where a prior decides alone, and number of all rows."""
    silent = [(importance_BS == 0).all(-1) for importance_BS in span.importance.values()]
    return {"weights/silent": (float(sum(s.sum() for s in silent)), float(sum(map(len, silent))))} if silent else {}


def _position_spearman_B(weights_BT: Tensor, mask_BT: Tensor) -> Tensor:
    rank_BT = _centred(average_ranks(weights_BT, mask_BT), mask_BT)
    position_BT = _centred((mask_BT.cumsum(-1) - 1).double(), mask_BT)
    scale_B = (rank_BT.square().sum(-1) * position_BT.square().sum(-1)).sqrt()
    return torch.where(scale_B > 0, (rank_BT * position_BT).sum(-1) / scale_B.clamp_min(1e-300), 0.0)


def _centred(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    mean_B1 = (x_BT * mask_BT).sum(-1, keepdim=True) / mask_BT.sum(-1, keepdim=True)
    return (x_BT - mean_B1) * mask_BT
