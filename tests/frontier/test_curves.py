"""Curves over log KL, and the best frontier possible."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alignkit.frontier.curves import best_kl, best_reward, curves, off_monotone, support


@pytest.mark.parametrize(
    ("kl", "low", "high"), [(0.10, 0.695, 0.705), (0.20, 0.78, 0.79), (0.30, 0.84, 0.85), (0.50, 0.93, 0.94)]
)
def test_the_best_reward_of_the_built_in_world(kl, low, high):
    """From p = .477: KL .10 -> .70, .20 -> .785, .30 -> .845, .50 -> .935."""
    assert low <= best_reward(kl, 0.477) <= high


def test_the_least_kl_by_hand():
    """R = .75, p = .5: .75 ln 1.5 + .25 ln .5 = .304099 - .173287 = .130812. R = 1: ln 2. At most p: 0."""
    assert best_kl(0.75, 0.5) == pytest.approx(0.130812, abs=1e-6)
    assert best_kl(1.0, 0.5) == pytest.approx(math.log(2))
    assert best_kl(np.array([0.5, 0.2, 0.0]), 0.5).tolist() == [0, 0, 0]


def test_best_reward_and_best_kl_are_inverse():
    rewards = np.array([0.5, 0.6, 0.9, 0.999])
    assert best_reward(best_kl(rewards, 0.477), 0.477) == pytest.approx(rewards, abs=1e-9)
    assert best_reward(np.array([0.0, 5.0]), 0.477) == pytest.approx([0.477, 1.0])


def test_a_parabola_goes_through_points_of_one():
    """Reward = .5 + .2 x - .1 x^2 with x = log KL."""
    x = np.array([[[-2.0, -1.5, -1.0, 0.0, 0.5]]])
    grid = np.linspace(-2, 0.5, 7)
    expected = 0.5 + 0.2 * grid - 0.1 * grid**2
    assert curves(x, 0.5 + 0.2 * x - 0.1 * x**2, grid)[0] == pytest.approx(expected, abs=1e-12)


def test_three_points_are_joined_by_straight_lines_between_their_means():
    """Seeds at x (-2, 0, 1) and (0, 0, 1): means -1, 0, 1; rewards (0, .5, .6) and (.2, .7, .6): .1, .6, .6."""
    x, y = np.array([[[-2.0, 0, 1], [0, 0, 1]]]), np.array([[[0.0, 0.5, 0.6], [0.2, 0.7, 0.6]]])
    assert curves(x, y, np.array([-1.0, -0.5, 0, 1]))[0] == pytest.approx([0.1, 0.35, 0.6, 0.6])
    assert support(x[0]) == (-1, 1)


def test_the_order_of_points_does_not_matter():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 4, 3, 6))
    grid, order = np.linspace(-1, 1, 5), generator.permutation(6)
    for count in (6, 3):
        chosen = order[order < count]
        one = curves(x[..., :count], y[..., :count], grid)
        assert curves(x[..., chosen], y[..., chosen], grid) == pytest.approx(one)


def test_how_far_a_curve_is_from_one_that_never_falls():
    """Joined points 0, .4, .2: the best monotone ones are 0, .3, .3."""
    x = np.array([[0.0, 1, 2]])
    assert off_monotone(x, np.array([[0.0, 0.4, 0.2]])) == pytest.approx(0.1)
    assert off_monotone(x, np.array([[0.0, 0.2, 0.4]])) == 0
