"""The few statistics that checks need: a sign test, Holm's correction, the area under a ROC curve, a linear model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray

NUM_FOLDS = 5

_RIDGE = 1.0
"""Penalty on the squared weights of standardised features; it keeps a fit finite where a feature decides all pairs."""

_STEPS = 25


def sign_z(wins: int, losses: int) -> float:
    """Standard errors by which the share of wins differs from a half; 0 without any."""
    total = wins + losses
    return (wins - losses) / math.sqrt(total) if total else 0.0


def p_value(z: float) -> float:
    """Two-sided, of a standard normal."""
    return math.erfc(abs(z) / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, adjusted so that the chance of any false alarm is what they say."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def auc(positive: ndarray, negative: ndarray) -> float:
    """Chance that one of `positive` is larger than one of `negative`, ties counting half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / (2 * len(negative)))


def out_of_fold(features: ndarray, folds: ndarray) -> ndarray:
    """[n] log-odds that each pair's first member wins, by a linear model that never saw the pair's fold.

    Args:
        features: [n, F] features of the chosen minus those of the rejected response.
        folds: [n] fold of each pair; pairs that belong together are in one.
    """
    scale = np.sqrt((features**2).mean(axis=0))
    scaled = features / np.where(scale > 0, scale, 1.0)
    logits = np.zeros(len(features))
    for fold in range(NUM_FOLDS):
        inside = folds == fold
        logits[inside] = scaled[inside] @ _fitted(scaled[~inside])
    return logits


def _fitted(features: ndarray) -> ndarray:
    """[F] weights of a logistic regression without intercept in which every pair is won by its first member."""
    weights = np.zeros(features.shape[1])
    penalty = _RIDGE * np.eye(len(weights))
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        gradient = features.T @ (1 - chance) - _RIDGE * weights
        hessian = (features * (chance * (1 - chance))[:, None]).T @ features + penalty
        step = np.linalg.solve(hessian, gradient)
        weights = weights + step
        if float(np.abs(step).max(initial=0.0)) < 1e-8:
            break
    return weights
