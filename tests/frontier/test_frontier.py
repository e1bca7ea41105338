"""Frontiers of points whose truth is known: areas, intervals, bands."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alignkit.frontier.chance import largest_t
from alignkit.frontier.frontier import Frontier, frontier
from alignkit.frontier.numbers import as_json
from alignkit.frontier.points import Measured, Point
from alignkit.frontier.words import sentences

LOGS = np.linspace(-2.0, 0.0, 5)


def truth(x: np.ndarray) -> np.ndarray:
    """A frontier that bends."""
    return 0.7 + 0.1 * x - 0.03 * x**2


def made(
    offsets: dict[str, float],
    *,
    seeds: int = 5,
    prompts: int = 40,
    logs: np.ndarray = LOGS,
    seed_sd: float = 0.0,
    run_sd: float = 0.0,
    prompt_sd: float = 0.0,
    generator: int = 0,
) -> Measured:
    """Arms of the truth and an offset, with noise that they share (seeds, prompts) and noise of their own."""
    random = np.random.default_rng(generator)
    points = [Point(arm, {"losses.0.beta": number}) for arm in offsets for number in range(len(logs))]
    levels = np.concatenate([truth(logs) + offset for offset in offsets.values()])
    kl = np.tile(np.exp(logs), len(offsets))
    easy = random.normal(0, prompt_sd, (prompts, 1))  # of the prompts that all seeds have
    sums = []
    for _ in range(seeds):
        level = levels + random.normal(0, seed_sd) + random.normal(0, run_sd, len(levels))
        own = random.normal(0, prompt_sd, (prompts, len(levels)))
        sums.append(np.stack([level + easy + own, np.tile(kl, (prompts, 1))], 1))
    counts = [np.ones(prompts)] * seeds
    return Measured(points, list(range(seeds)), sums, counts, 0.5, [])


def area(found: Frontier):
    (one,) = found.comparisons
    return one


def test_the_area_between_two_frontiers_that_are_known_is_exact():
    found = area(frontier(made({"dpo": 0.0, "other": 0.02}), samples=20))
    assert found.area.value == pytest.approx(0.02, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((math.exp(-2), 1.0))
    assert found.curve.reward == pytest.approx([0.02] * 40)


def test_an_area_is_taken_where_both_have_points_only():
    """Lines in log KL: dpo 1 x at x = -2, -1, 0 and other 1 x + x at -1, 0, 1: on [-1, 0] the mean of x is -.5."""
    points = [Point("dpo", {"k": k}) for k in range(3)] + [Point("other", {"k": k}) for k in range(3)]
    x = np.array([-2.0, -1, 0, -1, 0, 1])
    reward = np.where(np.arange(6) < 3, x, 2 * x)
    sums = np.stack([reward, np.exp(x)])[None]
    found = frontier(Measured(points, [0, 1], [sums, sums], [np.ones(1)] * 2, math.nan, []), samples=20)
    one = area(found)
    assert (one.low, one.high) == pytest.approx((math.exp(-1), 1.0))
    assert one.area.value == pytest.approx(-0.5)
    assert not found.has_best and all(place.efficiency is None for place in found.places)


def test_two_identical_arms_have_area_0_and_p_1():
    measured = made({"dpo": 0.0, "same": 0.0}, prompt_sd=0.1)
    for part in measured.sums:
        part[..., 5:] = part[..., :5]
    found = frontier(measured, samples=50)
    one = area(found)
    assert (one.area.value, one.area.low, one.area.high, one.area.p, one.p) == (0, 0, 0, 1, 1)
    assert next(sentences(found)) == "same and dpo are the same: difference 0, p 1."


def test_noise_that_arms_share_is_no_noise_of_their_difference():
    found = frontier(made({"dpo": 0.0, "other": 0.01}, seed_sd=0.3), samples=100)
    assert area(found).area.se < 1e-12
    assert all(place.reward.se > 0.05 for place in found.places)


def test_what_is_clearly_better_is_called_so_and_what_is_not_is_not():
    found = frontier(made({"dpo": 0.0, "good": 0.1, "even": 0.0}, run_sd=0.01, prompt_sd=0.05), samples=300)
    good, even = list(sentences(found))
    assert good.startswith("good is better than dpo: at equal kl its true_reward differs by +0.")
    assert good.endswith("That is more than noise.") and "after Holm's correction for 2 comparisons" in good
    assert even.startswith("Whether even is better than dpo cannot be told: ")
    worse = frontier(made({"good": 0.1, "dpo": 0.0}, run_sd=0.01), samples=300)
    assert next(sentences(worse)).startswith("dpo is worse than good: ")
    swapped = frontier(made({"good": 0.1, "dpo": 0.0}, run_sd=0.01), base="dpo", samples=300)
    assert next(sentences(swapped)).startswith("good is better than dpo: ")


def test_one_seed_knows_of_prompts_only_and_says_so():
    found = frontier(made({"dpo": 0.0, "other": 0.1}, seeds=1, prompt_sd=0.05), samples=200)
    one = area(found)
    assert one.area.df == 39
    assert one.area.se == pytest.approx(one.of_models.se)
    better, limits = sentences(found)
    assert better.startswith("Of these very models other is better than dpo: ")
    assert better.endswith("That is more than the noise of the prompts; of the methods one seed tells nothing.")
    assert limits.startswith("One seed: the intervals know of prompts only")


def test_arms_that_never_meet_are_not_compared():
    measured = made({"dpo": 0.0, "far": 0.0})
    for part in measured.sums:
        part[:, 1, 5:] *= 100
    found = frontier(measured, samples=20)
    assert (list(found.comparisons), list(found.apart)) == ([], ["far"])
    assert next(sentences(found)).startswith("far and dpo have no range of kl in which both have two points")


def test_a_point_at_the_reference_is_left_out():
    measured = made({"dpo": 0.0, "other": 0.0})
    measured.sums[0][:, 1, 0] = 0.0
    found = frontier(measured, samples=20)
    assert [arm.points for arm in found.arms] == [4, 5]
    assert list(found.left_out) == ["dpo beta 0: at the reference, so it has no place on a scale of log KL"]
    assert found.places[0].reward.value == pytest.approx(truth(LOGS)[0])


def test_a_band_holds_its_curve_and_is_wider_than_the_interval_at_a_place():
    found = frontier(made({"dpo": 0.0, "other": 0.0}, run_sd=0.02, prompt_sd=0.1), samples=400)
    curve = area(found).curve
    half = (np.array(curve.high) - np.array(curve.low)) / 2
    assert (np.array(curve.low) < curve.reward).all() and (np.array(curve.reward) < curve.high).all()
    assert half.mean() > (area(found).area.high - area(found).area.low) / 2


def test_efficiency_is_the_least_kl_over_the_kl():
    """At x = 0 reward is .7 and KL 1; from p = .5 KL* = .7 ln 1.4 + .3 ln .6 = .235531 - .153248 = .082283."""
    places = frontier(made({"dpo": 0.0}), samples=20).places
    assert places[-1].efficiency is not None
    assert places[-1].efficiency.value == pytest.approx(0.082283, abs=1e-6)


def test_the_same_numbers_give_the_same_intervals():
    one, other = (as_json(frontier(made({"dpo": 0.0, "b": 0.0}, run_sd=0.1), samples=30)) for _ in range(2))
    assert one == other


def covered(**noise: float) -> tuple[float, float]:
    """Share of simulated sweeps whose interval of the area, and whose band, hold the truth."""
    areas, bands, rounds = 0, 0, 100
    for number in range(rounds):
        measured = made({"dpo": 0.0, "other": 0.02}, prompts=60, generator=number, **noise)
        one = area(frontier(measured, samples=200))
        areas += one.area.low <= 0.02 <= one.area.high
        bands += all(low <= 0.02 <= high for low, high in zip(one.curve.low, one.curve.high, strict=True))
    return areas / rounds, bands / rounds


def test_the_width_of_a_band_is_that_of_student_at_one_place_and_more_at_many():
    """One place, or 40 that go together: t(.975) of 4 df, 2.776. 40 apart: the normal's at (1 + .95^(1/40)) / 2."""
    one, many = (np.random.default_rng(0).normal(size=(4000, count)) for count in (1, 40))
    assert largest_t(one, one.std(0), 4) == pytest.approx(2.776, rel=0.04)
    assert largest_t(np.tile(one, 40), np.tile(one.std(0), 40), 4) == pytest.approx(2.776, rel=0.04)
    assert largest_t(many, many.std(0), 1e9) == pytest.approx(3.22, rel=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("noise", [{"run_sd": 0.03}, {"run_sd": 0.01, "prompt_sd": 0.2}])
def test_intervals_and_bands_hold_the_truth_as_often_as_they_say(seeds: int, noise: dict[str, float]):
    areas, bands = covered(seeds=seeds, **noise)
    assert areas >= 0.92 and bands >= 0.92  # of 100
