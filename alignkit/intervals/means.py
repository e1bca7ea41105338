"""Means of items with standard errors: of one score, and of two scores on the same items.

Items of one cluster (samples of one prompt, questions about one text) go up and down together, so they are no
independent witnesses. An item that is a cluster of its own gives the textbook's error, `sd / sqrt(n)`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from alignkit.intervals.interval import Interval, interval
from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray

Values = Sequence[float]

Item = TypeVar("Item", bound=Hashable)

Clusters = Sequence[Hashable]
"""Of each item what it shares with others; equal ones are one cluster."""


def mean(values: Values, clusters: Clusters | None = None, level: float = 0.95) -> Interval:
    """The mean of items.

    With C clusters of n items the standard error is `sqrt(C / (C - 1) sum_c (sum_{i in c} (s_i - mean))^2) / n`, and t
    has C - 1 degrees of freedom.

    Args:
        values: one number for each item.
        clusters: the cluster of each item; without, each is its own.
        level: of the interval.

    Raises:
        ValueError: another number of clusters than of values, or a level that is no share.
    """
    items = np.asarray(values, dtype=float)
    if not len(items):
        return interval(math.nan, math.nan, n=0, df=0, level=level)
    middle = float(items.mean())
    sums = _sums(items - middle, clusters)
    count = len(sums)
    scale = math.sqrt(count / (count - 1)) if count > 1 else math.nan
    se = scale * float(np.sqrt((sums**2).sum())) / len(items)
    if np.ptp(items) == 0:
        middle, se = float(items[0]), se * 0.0  # a mean of equal numbers is rounded, and they have no spread
    return interval(middle, se, n=len(items), df=count - 1, level=level)


def _sums(deviations: ndarray, clusters: Clusters | None) -> ndarray:
    """[C] the deviations added within each cluster."""
    if clusters is None:
        return deviations
    numbers: dict[Hashable, int] = {}
    places = [numbers.setdefault(cluster, len(numbers)) for cluster in clusters]
    if len(places) != len(deviations):
        raise ValueError(f"{len(deviations)} values have {len(places)} clusters; give one for each")
    return np.bincount(places, weights=deviations)


def paired(a: Values, b: Values, clusters: Clusters | None = None, level: float = 0.95) -> Interval:
    """The mean of a - b on the same items: what both share, such as easy items, is no noise.

    Args:
        a: one number for each item.
        b: the same of the other, in the same order.
        clusters: the cluster of each item; without, each is its own.
        level: of the interval.

    Raises:
        ValueError: the two have not the same number of items.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired; give both of the same items")
    return mean(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), clusters, level)


def averaged(samples: Mapping[Item, Values]) -> dict[Item, float]:
    """Several samples of each item as one number for it: they tell how sure an item's score is, not how many items
    there are."""
    return {item: float(np.mean(values)) for item, values in samples.items()}
