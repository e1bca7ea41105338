"""A number with its standard error and the interval that Student's t makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from alignkit.lazy import scipy_special as special


@dataclass(frozen=True)
class Interval:
    """A number and how sure it is.

    Attributes:
        value: the number; NaN of nothing.
        se: its standard error; NaN where there is only one item or cluster.
        low: lower end, NaN where `se` is.
        high: upper end, NaN where `se` is.
        level: how often such intervals hold what they estimate, such as 0.95.
        n: how many items it comes of.
        df: degrees of freedom of the t distribution: clusters, or seeds, minus one.
    """

    value: float
    se: float
    low: float
    high: float
    level: float
    n: int
    df: float

    @property
    def p(self) -> float:
        """Of the two-sided t test whether the number is 0; NaN where there is no standard error.

        Without any spread it is 1 for a number that is 0, and NaN for another, of which no spread tells how sure it is.
        """
        if self.se == 0:
            return 1.0 if self.value == 0 else math.nan
        return 2 * float(special.stdtr(self.df, -abs(self.value) / self.se)) if math.isfinite(self.se) else math.nan


def interval(value: float, se: float, *, n: int, df: float, level: float = 0.95) -> Interval:
    """`value` +- t x `se`.

    Args:
        value: a number.
        se: its standard error.
        n: how many items it comes of.
        df: degrees of freedom; infinity for the normal distribution.
        level: how often such intervals hold what they estimate, above 0 and below 1.

    Raises:
        ValueError: `level` is no such share.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be above 0 and below 1, such as 0.95, got {level}")
    half = float(special.stdtrit(df, (1 + level) / 2)) * se if df > 0 else math.nan
    return Interval(value, se, value - half, value + half, level, n, df)
