"""Whether a difference is more than chance, among how many that were looked at, and what would have been seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alignkit.intervals.interval import interval
from alignkit.lazy import scipy_stats as stats


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact test of McNemar for two 0/1 scores on the same independent items; its p-value, two-sided.

    Args:
        only_a: items that a has right and b has not.
        only_b: items that b has right and a has not.
    """
    differing = only_a + only_b
    return float(stats.binomtest(min(only_a, only_b), differing).pvalue) if differing else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values after Holm's correction for as many comparisons, in their order.

    NaN, a comparison that could not be made, stays NaN and is not counted.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted, least = [math.nan] * len(p_values), 0.0
    for rank, (p, place) in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p))
        adjusted[place] = least
    return adjusted


def smallest_visible(se: float, df: float = math.inf, level: float = 0.95, power: float = 0.8) -> float:
    """The smallest true difference of which `power` of such comparisons would have seen that it is not 0.

    Of two 0/1 scores that differ on a share D of n items, `se` is `sqrt(D / n)`; in general it is the standard error of
    the paired difference, clusters and seeds included.

    Args:
        se: standard error of the difference.
        df: its degrees of freedom; infinity for the normal distribution, `(1.960 + 0.842) se` by default.
        level: of the interval that has to leave out 0.
        power: share of comparisons.
    """
    return interval(0.0, se, n=0, df=df, level=level).visible(power)
