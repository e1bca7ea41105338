"""Differences of methods that were each trained with several seeds and measured on items.

Two things are drawn by chance: seeds, and items. Their variances add: that of the seeds' means over the seeds, and that
of the items' means over the items; each keeps its own t distribution. What seed and item do together is in both and so
counted twice, which makes the interval too wide rather than too narrow. With one seed on a side nothing is known of
that side's seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from alignkit.intervals.interval import Interval, half_width
from alignkit.intervals.means import Clusters, Values, mean, paired
from alignkit.lazy import numpy as np


def seeds_and_items(
    a: Sequence[Values],
    b: Sequence[Values],
    clusters: Clusters | None = None,
    level: float = 0.95,
    *,
    same_seeds: bool = False,
) -> Interval:
    """The mean of a - b over seeds and items.

    Args:
        a: [S, n] of each seed one number for each item.
        b: the same of the other method, of as many seeds or another number.
        clusters: the cluster of each item; without, each is its own.
        level: of the interval.
        same_seeds: whether the seeds are the same in the same order, so that their differences are paired.

    Raises:
        ValueError: the numbers of items, or those of the same seeds, differ.
    """
    first, second = (np.asarray(side, dtype=float) for side in (a, b))
    over_items = paired(first.mean(0), second.mean(0), clusters, level)
    means = (first.mean(1), second.mean(1))
    over_seeds = [paired(*means, None, level)] if same_seeds else [mean(one, level=level) for one in means]
    return added([over_items, *(one for one in over_seeds if one.n > 1)])


def seeds_with_own_items(
    differences: Sequence[Values], clusters: Sequence[Clusters] | None = None, level: float = 0.95
) -> Interval:
    """The mean of differences where each seed has items of its own, on which its two runs are paired.

    Args:
        differences: of each seed one number for each of its items.
        clusters: of each seed the cluster of each item; equal ones of two seeds are one cluster. Without, each item is
            its own.
        level: of the interval.
    """
    items = [one for of_seed in differences for one in of_seed]
    groups = None if clusters is None else [one for of_seed in clusters for one in of_seed]
    over_items = mean(items, groups, level)
    over_seeds = mean([mean(of_seed).value for of_seed in differences], level=level)
    return added([over_items, over_seeds] if len(differences) > 1 else [over_items])


def added(parts: Sequence[Interval]) -> Interval:
    """The value of the first with the variances of all; `df` are those of Welch and Satterthwaite.

    The interval is not made of these: half its width is that of each part, added in squares.
    """
    if len(parts) == 1:
        return parts[0]
    first, kinds = parts[0], tuple((part.se, float(part.df)) for part in parts)
    variances = [part.se**2 for part in parts]
    spread = sum(one**2 / part.df if part.df > 0 else math.nan for one, part in zip(variances, parts, strict=True))
    df = sum(variances) ** 2 / spread if spread else first.df
    half = half_width(kinds, 1 - first.level)
    ends = (first.value - half, first.value + half)
    return Interval(first.value, math.sqrt(sum(variances)), *ends, first.level, first.n, df, kinds)
