"""KTO's own promises; its worked numbers are in tests/test_worked_methods.py."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from alignkit.asks.needs import Needs
from alignkit.losses.kto import KTO
from alignkit.scores import TokenScores, UnpairedScores


def labelled(*logratios: float, desirable: bool, mismatch: float = 0.0, weights=None) -> UnpairedScores:
    """One response with these log-ratios per token."""
    policy_BT = torch.tensor([logratios], dtype=torch.float64, requires_grad=True)
    ones_BT = torch.ones_like(policy_BT).detach()
    weights_BT = ones_BT if weights is None else torch.tensor([weights], dtype=torch.float64)
    response = TokenScores(policy_BT, ones_BT.bool(), weights_BT, 0 * ones_BT)
    return UnpairedScores(response, torch.tensor([desirable]), torch.tensor(mismatch, dtype=torch.float64))


def value(scores: UnpairedScores, **parameters) -> float:
    return KTO(**parameters).per_example(scores).item()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("desirable", [True, False])
def test_starts_at_one_half(desirable) -> None:
    """No log-ratio, no mismatch: 1 - s(0)."""
    assert value(labelled(0.0, 0.0, desirable=desirable)) == 0.5


@pytest.mark.parametrize(("desirable", "sign"), [(True, 1), (False, -1)])
def test_by_hand(desirable, sign) -> None:
    """Log-ratio 3 against 1, beta 0.5: 1 - s(+-1), times the weight of its kind."""
    scores = labelled(2.0, 1.0, desirable=desirable, mismatch=1.0)
    weights = {"desirable_weight": 2.0, "undesirable_weight": 3.0}
    expected = (2.0 if desirable else 3.0) * (1 - sigmoid(sign * 1.0))
    assert value(scores, beta=0.5, **weights) == pytest.approx(expected, abs=1e-12)


def test_a_negative_mismatch_is_no_baseline() -> None:
    assert value(labelled(1.0, desirable=True, mismatch=-2.0)) == value(labelled(1.0, desirable=True))


def test_the_baseline_is_a_constant() -> None:
    scores = labelled(1.0, desirable=True)
    moving = replace(scores, mismatch=torch.tensor(0.5, requires_grad=True))
    (gradient,) = torch.autograd.grad(KTO().per_example(moving).sum(), moving.mismatch, allow_unused=True)
    assert gradient is None


def test_token_weights_enter_and_rewards_are_unweighted() -> None:
    """Weights 2 and 0 on log-ratios 1 and 5: 2 instead of 6; the reward stays 0.1 x 6."""
    scores = labelled(1.0, 5.0, desirable=True, weights=(2.0, 0.0))
    assert value(scores, beta=0.1) == pytest.approx(1 - sigmoid(0.2), abs=1e-12)
    reward_B = KTO(beta=0.1).rewards(scores)
    assert reward_B.item() == pytest.approx(0.6) and not reward_B.requires_grad


def test_saturates_without_loss_of_precision() -> None:
    """1 - s(600) underflows when it is computed as a difference; its gradient is finite."""
    scores = labelled(600.0, desirable=True)
    loss_B = KTO(beta=1.0).per_example(scores)
    (gradient_BT,) = torch.autograd.grad(loss_B.sum(), scores.response.policy_BT)
    assert 0 < loss_B.item() < 1e-200 and torch.isfinite(gradient_BT).all()


def test_needs() -> None:
    assert KTO().needs() == Needs(reference=True, mismatched=True)
