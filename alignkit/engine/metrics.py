"""What a training step logs beside its losses: implicit rewards, log-probs, how token weights are spread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from alignkit.engine.weight_metrics import silent_metrics, weight_metrics
from alignkit.loop.step import Metrics
from alignkit.losses.base import Loss, PairLoss, UnpairedLoss
from alignkit.scores import PairScores, RowScores, UnpairedScores, View

if TYPE_CHECKING:
    from torch import Tensor

TIE = 1e-3
"""Nats below which a difference of two responses' log-probs is rounding, and the pair a tie."""


def reward_metrics(loss: Loss, view: View) -> Metrics:
    """Implicit rewards of chosen and rejected, or of desirable and undesirable responses; nothing if it has none."""
    if isinstance(loss, PairLoss) and isinstance(view, PairScores):
        return _pair_rewards(loss, view)
    if isinstance(loss, UnpairedLoss) and isinstance(view, UnpairedScores):
        reward_B = loss.rewards(view)
        if reward_B is not None:
            return {f"rewards/{name}": part for name, part in _by_label(reward_B, view.desirable_B)}
    return {}


def _pair_rewards(loss: PairLoss, view: PairScores) -> Metrics:
    rewards = loss.rewards(view)
    if rewards is None:
        return {}
    chosen_B, rejected_B = rewards
    count = float(len(chosen_B))
    margin_B = chosen_B - rejected_B
    tie = TIE * getattr(loss, "beta", 1.0)  # rewards are beta x nats
    score_B = (1 + (margin_B > tie).float() - (margin_B < -tie).float()) / 2
    values = {"chosen": chosen_B, "rejected": rejected_B, "margins": margin_B, "accuracies": score_B}
    return {f"rewards/{name}": (value_B.sum(), count) for name, value_B in values.items()}


def _by_label(value_B: Tensor, desirable_B: Tensor) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """(name, (sum, count)) over the desirable (`chosen`) and over the other (`rejected`) examples."""
    for name, mask_B in (("chosen", desirable_B), ("rejected", ~desirable_B)):
        yield name, (value_B.where(mask_B, 0.0).sum(), mask_B.sum())


def score_metrics(scores: RowScores) -> Metrics:
    """Summed log-probs of the responses, how the token weights are spread, and the mismatch if there is one."""
    metrics: Metrics = {}
    logps = [response.policy_BT.detach().sum(-1) for response in scores.responses]
    if len(logps) == 1:
        metrics |= {f"logps/{name}": part for name, part in _by_label(logps[0], scores.desirable_B)}
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
