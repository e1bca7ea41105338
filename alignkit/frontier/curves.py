"""Frontiers as curves: reward as a function of log KL, and the best one that there can be.

A curve says something between the least and the largest KL of its points and nothing beyond. It is no upper envelope:
that takes the luckiest run of each place, and rises with the number of runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alignkit.lazy import numpy as np
from alignkit.lazy import scipy_optimize as optimize

if TYPE_CHECKING:
    from numpy import ndarray

FEWEST: Final = 4
"""Points from which a parabola is fitted; fewer are joined by straight lines."""

GRID: Final = 40
"""Places on a grid over log KL."""

LEAST_KL: Final = 1e-6
"""Nats below which a point says nothing about log KL: its policy is the reference."""


def best_kl(reward: ndarray | float, start: float) -> ndarray:
    """The least KL with which a policy can have this reward, nats.

    `KL*(R) = R ln(R/p) + (1 - R) ln((1 - R)/(1 - p))`: of all policies that are right with probability R, the nearest
    one to the start scales the probabilities of its right and of its other responses, and changes nothing among them.

    Args:
        reward: R, a share of right responses.
        start: p, that of the start model; above 0 and below 1.

    Returns:
        0 where the reward is at most that of the start.
    """
    r = np.asarray(reward, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        right = np.where(r > 0, r * np.log(r / start), 0.0)
        wrong = np.where(r < 1, (1 - r) * np.log((1 - r) / (1 - start)), 0.0)
    found: ndarray = np.where(r > start, right + wrong, 0.0)
    return found


def best_reward(kl: ndarray | float, start: float) -> ndarray:
    """The largest reward that a policy at this KL can have: the inverse of `best_kl`."""
    low, high = np.full(np.shape(kl), start, dtype=float), np.ones(np.shape(kl))
    for _ in range(60):  # halves the interval each time
        middle = (low + high) / 2
        is_below = best_kl(middle, start) <= kl
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    found: ndarray = low
    return found


def support(log_kl: ndarray) -> tuple[float, float]:
    """Least and largest log KL of the points, each the mean over seeds; [S, P]."""
    means = log_kl.mean(0)
    return float(means.min()), float(means.max())


def is_fitted(points: int) -> bool:
    """Whether so many points get a parabola."""
    return points >= FEWEST


def curves(log_kl: ndarray, reward: ndarray, grid: ndarray) -> ndarray:
    """Reward at each place of the grid, of many samples of the same points at once.

    From `FEWEST` points on it is the least-squares parabola in log KL through the points of all seeds; fewer points
    are averaged over seeds and joined by straight lines.

    Args:
        log_kl: [B, S, P] of B samples, S seeds, P points.
        reward: the same.
        grid: [G] log KL.

    Returns:
        [B, G].
    """
    return _parabolas(log_kl, reward, grid) if is_fitted(log_kl.shape[-1]) else _joined(log_kl, reward, grid)


def _parabolas(log_kl: ndarray, reward: ndarray, grid: ndarray) -> ndarray:
    middle, width = grid.mean(), max(float(np.ptp(grid)) / 2, 1e-12)  # near 0 and 1 the squares lose no digits
    x = ((log_kl - middle) / width).reshape(len(log_kl), -1)
    coefficients = np.linalg.pinv(np.stack([x**0, x, x**2], -1)) @ reward.reshape(len(reward), -1, 1)
    at = (grid - middle) / width
    found: ndarray = coefficients[..., 0] @ np.stack([at**0, at, at**2])
    return found


def _joined(log_kl: ndarray, reward: ndarray, grid: ndarray) -> ndarray:
    rows = []
    for x, y in zip(log_kl.mean(1), reward.mean(1), strict=True):
        order = np.argsort(x)
        rows.append(np.interp(grid, x[order], y[order]))
    return np.stack(rows)


def off_monotone(log_kl: ndarray, reward: ndarray) -> float:
    """How far the curve of [S, P] points is, at most, from the best curve that never falls, at the points; reward.

    A large number says that a parabola does not describe these points, or that reward falls where KL grows.
    """
    x, y = log_kl.mean(0), reward.mean(0)
    order = np.argsort(x)
    monotone = optimize.isotonic_regression(y[order]).x
    fitted = curves(log_kl[None], reward[None], x[order])[0]
    return float(np.abs(monotone - fitted).max())
