"""A number with its standard error and the interval that Student's t makes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from alignkit.lazy import scipy_optimize as optimize
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
        parts: of a number that several independent kinds of chance move, standard error and degrees of freedom of each.
    """

    value: float
    se: float
    low: float
    high: float
    level: float
    n: int
    df: float
    parts: tuple[tuple[float, float], ...] = ()

    @property
    def p(self) -> float:
        """Of the two-sided t test whether the number is 0; NaN where there is no standard error.

        Without any spread it is 1 for a number that is 0, and NaN for another, of which no spread tells how sure it is.
        """
        if self.se == 0:
            return 1.0 if self.value == 0 else math.nan
        size = abs(self.value)
        if not self.parts or size == 0:
            return 2 * float(special.stdtr(self.df, -size / self.se)) if math.isfinite(self.se) else math.nan
        if not math.isfinite(half_width(self.parts, 0.5)):
            return math.nan
        if half_width(self.parts, SMALLEST_P) <= size:
            return SMALLEST_P
        found = optimize.brentq(lambda log: half_width(self.parts, math.exp(log)) - size, math.log(SMALLEST_P), 0.0)
        return math.exp(found)

    def numbers(self, *names: str) -> dict[str, float | None]:
        """Attributes by their name, for JSON: what is NaN or infinite is null."""
        known = {name: float(getattr(self, name)) for name in names}
        return {name: number if math.isfinite(number) else None for name, number in known.items()}

    def visible(self, power: float = 0.8) -> float:
        """The smallest true number of which `power` of such measurements would have seen that it is not 0."""
        return (
            (self.high - self.low) / 2 + float(special.stdtrit(self.df, power)) * self.se if self.df > 0 else math.nan
        )


SMALLEST_P = 1e-12
"""Below it no p-value of several kinds of chance is told."""


def half_width(parts: Sequence[tuple[float, float]], p: float) -> float:
    """Half the width of an interval that holds the truth in a share 1 - p: those of each kind of chance, in squares.

    This is the method of variance estimates recovery (Zou and Donner, 2008). Each part keeps the t distribution of its
    own degrees of freedom, so that two seeds that happen to agree do not lend theirs to many items.

    Args:
        parts: standard error and degrees of freedom of each.
        p: share that lies outside.
    """
    return math.hypot(*(float(special.stdtrit(df, p / 2)) * se if df > 0 else math.nan for se, df in parts if se))


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
