"""Intervals: against hand counts and published values, as relations, and by how often they hold what they estimate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from alignkit.intervals import (
    added,
    averaged,
    holm,
    interval,
    mcnemar,
    mean,
    paired,
    seeds_and_items,
    seeds_with_own_items,
    smallest_visible,
)

SCORES, TEXTS = [1, 1, 1, 0, 0, 1, 0, 1], [1, 1, 1, 2, 2, 3, 3, 3]
A, B = [1, 1, 0, 1, 0, 1, 1, 0], [1, 0, 0, 1, 0, 1, 0, 0]


def test_one_score():
    found = mean(SCORES)
    assert (found.value, found.n, found.df) == (0.625, 8, 7)
    assert found.se == pytest.approx(0.182981, abs=5e-7)
    assert found.high == pytest.approx(0.625 + stats.t.ppf(0.975, 7) * found.se)


def test_clusters():
    """Sums of deviations 1.125, -1.25, .125: the root of 2.84375 over 8 is .210793, of 3/2 as much .258167."""
    found = mean(SCORES, TEXTS)
    assert found.se == pytest.approx(0.258167, abs=5e-7)
    assert found.se / math.sqrt(3 / 2) == pytest.approx(0.210793, abs=5e-7)
    assert (found.value, found.df) == (0.625, 2)
    assert mean(SCORES, range(8)) == mean(SCORES)


def test_a_cluster_of_copies_is_one_witness():
    rng = np.random.default_rng(0)
    values = rng.normal(size=20)
    copied = mean(np.repeat(values, 4), np.repeat(np.arange(20), 4).tolist())
    assert (copied.value, copied.se) == (pytest.approx(mean(values).value), pytest.approx(mean(values).se))


def test_paired():
    found = paired(A, B)
    assert (found.value, found.se) == (0.25, pytest.approx(0.163663, abs=5e-7))
    assert math.hypot(mean(A).se, mean(B).se) == pytest.approx(0.258775, abs=5e-7)
    assert found.p == pytest.approx(stats.ttest_rel(A, B).pvalue)


def test_what_is_equal():
    found = paired(A, A)
    assert (found.value, found.se, found.low, found.high, found.p) == (0, 0, 0, 0, 1)
    always = mean([0.1] * 7)  # their sum is 0.7000000000000001
    assert (always.value, always.se, always.low) == (0.1, 0, 0.1)
    assert math.isnan(always.p)


def test_order_and_unit_do_not_matter():
    rng = np.random.default_rng(1)
    values, clusters, order = rng.normal(size=30), rng.integers(0, 9, 30), rng.permutation(30)
    found = mean(values, clusters.tolist())
    mixed = mean(values[order], clusters[order].tolist())
    scaled = mean(100 * values + 7, clusters.tolist())
    assert (mixed.value, mixed.se, mixed.df) == (pytest.approx(found.value), pytest.approx(found.se), found.df)
    assert (scaled.value, scaled.se) == (pytest.approx(100 * found.value + 7), pytest.approx(100 * found.se))
    swapped = paired(B, A)
    assert (swapped.low, swapped.high) == (pytest.approx(-paired(A, B).high), pytest.approx(-paired(A, B).low))


@pytest.mark.parametrize(
    ("values", "clusters"), [([], None), ([0.5], None), ([0.0, 1.0, 1.0], ["a"] * 3), ([0.0, math.nan, 1.0], None)]
)
def test_too_little_claims_nothing(values, clusters):
    found = mean(values, clusters)
    assert all(math.isnan(number) for number in (found.se, found.low, found.high, found.p))
    assert math.isnan(smallest_visible(found.se, found.df))


def test_what_cannot_be_counted_is_said():
    with pytest.raises(ValueError, match=r"^2 and 1 values cannot be paired; give both of the same items$"):
        paired([1, 2], [1])
    with pytest.raises(ValueError, match=r"^2 values have 1 clusters; give one for each$"):
        mean([1, 2], ["a"])
    with pytest.raises(ValueError, match=r"^level must be above 0 and below 1, such as 0\.95, got 95$"):
        mean([1, 2], level=95)


def test_mcnemar():
    assert mcnemar(15, 5) == mcnemar(5, 15) == pytest.approx(0.041389, abs=5e-7)
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1
    assert mcnemar(0, 3) == 0.25  # two of eight


def test_holm():
    """3 x .01; 2 x .02, above it; .03 below that, so it takes .04."""
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.6]) == [1, 1]
    adjusted = holm([0.02, math.nan])
    assert adjusted[0] == 0.02 and math.isnan(adjusted[1])
    assert holm([]) == []


def test_smallest_visible():
    points = [round(100 * smallest_visible(math.sqrt(0.1 / n)), 1) for n in (500, 1319, 164)]
    assert points == [4.0, 2.4, 6.9]
    assert smallest_visible(1) == pytest.approx(math.sqrt(7.849), abs=1e-4)
    assert smallest_visible(1, df=4) > smallest_visible(1, df=400) > smallest_visible(1)


def test_four_of_five_comparisons_see_the_smallest_visible():
    rng = np.random.default_rng(2)
    n, effect = 100, smallest_visible(1 / math.sqrt(100), 99)
    seen = [mean(rng.normal(effect, 1, n)).low > 0 for _ in range(600)]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.04)


def test_samples_of_an_item_are_averaged():
    assert averaged({"a": [1, 0, 1, 0], "b": [1]}) == {"a": 0.5, "b": 1}


def test_intervals_hold_what_they_estimate():
    """Clusters of four that go up and down together: with them 95 %, without far fewer."""
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(25), 4).tolist()
    held = np.zeros(2)
    for _ in range(600):
        values = np.repeat(rng.normal(size=25), 4) + 0.5 * rng.normal(size=100)
        held += [one.low < 0 < one.high for one in (mean(values, clusters), mean(values))]
    assert held[0] / 600 == pytest.approx(0.95, abs=0.025)
    assert held[1] / 600 < 0.8


def runs(rng, seeds: int, items: int, of_seeds: float) -> np.ndarray:
    """[S, n] items of their own, moved by the seed and by chance."""
    own = np.random.default_rng(9).normal(size=items)
    return own + of_seeds * rng.normal(size=(seeds, 1)) + 0.5 * rng.normal(size=(seeds, items))


@pytest.mark.parametrize("of_seeds", [0.0, 0.3])
def test_seeds_and_items_hold_what_they_estimate(of_seeds):
    rng = np.random.default_rng(4)
    found = [seeds_and_items(runs(rng, 3, 50, of_seeds), runs(rng, 3, 50, of_seeds)) for _ in range(400)]
    assert np.mean([one.low < 0 < one.high for one in found]) > 0.93


@pytest.mark.parametrize(("seeds", "held", "own"), [(2, 0.966, 0.952), (3, 0.951, 0.955), (5, 0.958, 0.95)])
def test_few_seeds(seeds, held, own):
    """The worst case, paired seeds that matter far more than items; docs/compare.md has the figures."""
    rng = np.random.default_rng(6)
    found = [seeds_and_items(*(runs(rng, seeds, 100, 0.3) for _ in range(2)), same_seeds=True) for _ in range(1000)]
    assert np.mean([one.low < 0 < one.high for one in found]) == pytest.approx(held, abs=0.012)
    found = [
        seeds_with_own_items(0.3 * rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, 200))) for _ in range(1000)
    ]
    assert np.mean([one.low < 0 < one.high for one in found]) == pytest.approx(own, abs=0.02)


def test_items_alone_are_too_sure_where_seeds_matter():
    rng = np.random.default_rng(5)
    found = [seeds_and_items(runs(rng, 1, 200, 0.3), runs(rng, 1, 200, 0.3)) for _ in range(200)]
    assert np.mean([one.low < 0 < one.high for one in found]) < 0.5


def test_seeds_and_items_by_hand():
    """Differences 1 3 / 2 4: seeds' means 2 and 3, items' means 1.5 and 3.5; variances 1/4 and 1, one df each."""
    found = seeds_and_items([[1, 3], [2, 4]], [[0, 0], [0, 0]], same_seeds=True)
    assert (found.value, found.se, found.n) == (2.5, pytest.approx(math.sqrt(1.25)), 2)
    assert found.df == pytest.approx(1.25**2 / (1 / 16 + 1))
    assert [*map(list, found.parts)] == [pytest.approx([1, 1]), pytest.approx([0.5, 1])]
    assert found.high == pytest.approx(2.5 + 12.706205 * math.sqrt(1.25), abs=1e-4)  # t(.975) of one df, twice


def test_p_is_what_leaves_0_at_the_end_of_the_interval():
    """With two seeds that happen to agree (t of one df), p cannot be that of the many items alone."""
    of_items = paired([0.1 + 0.01 * (i % 7) for i in range(200)], [0.0] * 200)
    found = added([of_items, interval(of_items.value, 0.005, n=2, df=1)])
    parts = [interval(found.value, se, n=200, df=df, level=1 - found.p) for se, df in found.parts]
    assert of_items.p < 1e-100 and 0.02 < found.p < 0.03
    assert added(parts).low == pytest.approx(0, abs=1e-9)


def test_seeds_with_own_items_by_hand():
    """Means 2 and 3 of two items each: 2.5; over items 5/3/4, 3 df; over seeds 1/4, 1 df."""
    found = seeds_with_own_items([[1, 3], [2, 4]])
    assert (found.value, found.n, found.se) == (2.5, 4, pytest.approx(math.sqrt(5 / 12 + 1 / 4)))
    assert found.df == pytest.approx((5 / 12 + 1 / 4) ** 2 / ((5 / 12) ** 2 / 3 + (1 / 4) ** 2))
    assert seeds_with_own_items([[1, 3], [2, 4]], ["ab", "ab"]).se == pytest.approx(
        math.hypot(mean([1, 3, 2, 4], "abab").se, 1 / 2)
    )
    assert seeds_with_own_items([A], [TEXTS]) == mean(A, TEXTS)


def test_one_seed_is_the_paired_difference():
    assert seeds_and_items([A], [B], TEXTS) == paired(A, B, TEXTS)
    same = seeds_and_items([A, A], [A, A], same_seeds=True)
    assert (same.value, same.se, same.p) == (0, 0, 1)


def test_the_normal_distribution_has_no_end_of_freedom():
    assert interval(0, 1, n=9, df=math.inf).high == pytest.approx(1.959964)
