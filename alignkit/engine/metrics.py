"""What a training step logs beside its losses and their rewards: log-probs, how token weights are spread.

Everything stays on the device, in float32: the loop reads it with the other metrics of the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.lazy import torch
from alignkit.loop.step import Metrics
from alignkit.losses.base import by_label
from alignkit.scores import RowScores, Span
from alignkit.weighting.ranks import average_ranks

if TYPE_CHECKING:
    from torch import Tensor


def score_metrics(scores: RowScores) -> Metrics:
    """Summed log-probs of the responses, how the token weights are spread, and the mismatch if there is one."""
    metrics: Metrics = {}
    logps = [response.policy_BT.detach().sum(-1) for response in scores.responses]
    if len(logps) == 1:
        metrics |= {f"logps/{name}": part for name, part in by_label(logps[0], scores.desirable_B)}
    else:
        for name, logp_B in zip(("chosen", "rejected"), logps, strict=True):
            metrics[f"logps/{name}"] = (logp_B.sum(), float(len(logp_B)))
    if scores.mismatch is not None:
        metrics["kl/mismatched"] = (scores.mismatch, 1.0)
    parts = [weight_metrics(response.weights_BT, response.mask_BT) for response in scores.responses]
    parts += [silent_metrics(span) for span in scores.spans]
    for part in parts:
        for key, (value, count) in part.items():
            before, so_far = metrics.get(key, (0.0, 0.0))
            metrics[key] = (before + value, so_far + count)
    return metrics


def sampling_metrics(scores: RowScores) -> Metrics:
    """How far log-probs of the forward pass are from those that responses were drawn with, nats per token."""
    if "sampled_logp" not in scores.per_token:
        return {}
    (response,) = scores.responses
    difference_BT = (response.policy_BT.detach() - scores.per_token["sampled_logp"]).abs()
    return {"sampling/logp_difference": (difference_BT.sum(), response.mask_BT.sum())}


# --- token weights ---


def weight_metrics(weights_BT: Tensor, mask_BT: Tensor) -> Metrics:
    """Sum over responses and number of responses of each metric.

    `ess`: effective sample size (sum w)^2 / sum w^2 per token; 1 for equal weights, 1 / T for one spike.
    `max`: the largest weight.
    `position_spearman`: rank correlation of weight and position; 0 where all weights are equal.

    Args:
        weights_BT: [B, T] weights, 0 off the mask, any scale.
        mask_BT: [B, T] bool; True on response tokens. Rows without any are not counted.
    """
    weights_BT = weights_BT.detach().float()
    kept_B = mask_BT.any(-1)
    # Divided by the largest first: small weights' squares would vanish in float32.
    max_B = weights_BT.amax(-1)
    part_BT = weights_BT / max_B.clamp_min(torch.finfo(max_B.dtype).tiny)[:, None]
    values = {
        "weights/ess": part_BT.sum(-1) ** 2 / (part_BT.square().sum(-1) * mask_BT.sum(-1)).clamp_min(1),
        "weights/max": max_B,
        "weights/position_spearman": _position_spearman_B(weights_BT, mask_BT),
    }
    return {name: (value_B.where(kept_B, 0.0).sum(), kept_B.sum()) for name, value_B in values.items()}


def silent_metrics(span: Span) -> Metrics:
    """Number of importance rows that are zero everywhere, where a prior decides alone, and number of all rows."""
    silent = [(importance_BS == 0).all(-1) for importance_BS in span.importance.values()]
    return {"weights/silent": (torch.cat(silent).sum(), float(sum(map(len, silent))))} if silent else {}


def _position_spearman_B(weights_BT: Tensor, mask_BT: Tensor) -> Tensor:
    rank_BT = _centred(average_ranks(weights_BT, mask_BT), mask_BT)
    position_BT = _centred(mask_BT.cumsum(-1) - 1.0, mask_BT)
    scale_B = rank_BT.square().sum(-1).sqrt() * position_BT.square().sum(-1).sqrt()
    return torch.where(scale_B > 0, (rank_BT * position_BT).sum(-1) / scale_B.clamp_min(1e-30), 0.0)


def _centred(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    mean_B1 = (x_BT * mask_BT).sum(-1, keepdim=True) / mask_BT.sum(-1, keepdim=True).clamp_min(1)
    return (x_BT - mean_B1) * mask_BT
