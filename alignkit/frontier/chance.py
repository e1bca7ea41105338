"""How sure a number, or a whole curve, is: what it would have been with other seeds and other prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from alignkit.lazy import numpy as np
from alignkit.seeds import derive

if TYPE_CHECKING:
    from numpy import ndarray

LEVEL: Final = 0.95
DRAWS: Final = 10_000
"""Of curves, from which the width of a band is known."""
ROUNDING: Final = 1e-9
"""Size of a difference, and of a spread, that is none: sums of the same numbers in another order."""


def unless_rounding(value: float) -> float:
    """0 where it is one but for rounding."""
    return value if abs(value) > ROUNDING else 0.0


@dataclass(frozen=True)
class Drawn:
    """A number, or a curve, as it would have been.

    Prompts and seeds are two kinds of chance, which add as where `alignkit.intervals` compares runs. What seeds were
    drawn again for holds that of prompts as well, which is taken off; and of S seeds drawn from S the spread is too
    small by (S - 1) / S.

    Attributes:
        again: [B, ...] with other seeds and other prompts; None of one seed.
        of_models: [B, ...] with other prompts.
        seeds: how many there are.
        prompts: how many there are.
    """

    again: ndarray | None
    of_models: ndarray
    seeds: int
    prompts: int

    @property
    def parts(self) -> list[tuple[ndarray, float, ndarray]]:
        """Standard error, degrees of freedom and draws of each kind of chance."""
        by_prompts = self.of_models.var(0, ddof=1)
        found = [(np.sqrt(by_prompts), float(max(self.prompts - 1, 1)), self.of_models)]
        if self.again is not None:
            by_seeds = np.maximum(self.again.var(0, ddof=1) - by_prompts, 0.0) * self.seeds / (self.seeds - 1)
            found.append((np.sqrt(by_seeds), float(self.seeds - 1), self.again))
        return found

    def mean(self) -> Drawn:
        """Of a curve's places."""
        again = None if self.again is None else self.again.mean(1)
        return Drawn(again, self.of_models.mean(1), self.seeds, self.prompts)


def largest_t(drawn: ndarray, spread: ndarray, df: float) -> float:
    """What the largest deviation over a curve, in units of its spread, stays below with probability `LEVEL`.

    Student's t over the whole curve: normal deviations that go together as those of the drawn curves do, over a spread
    that is known from few seeds. The drawn curves themselves cannot say it: of S seeds there are few different draws.

    Args:
        drawn: [B, G] curves.
        spread: [G] standard deviation that each place is taken to have.
        df: degrees of freedom.
    """
    scaled = (drawn - drawn.mean(0)) / np.where(spread > ROUNDING, spread, np.inf)
    generator = np.random.default_rng(derive(0, "band"))
    together = scaled.T @ scaled / (len(drawn) - 1)
    normal = generator.multivariate_normal(np.zeros(len(together)), together, DRAWS, method="svd")
    known = np.sqrt(generator.chisquare(df, DRAWS) / df)
    return float(np.quantile(np.abs(normal).max(1) / known, LEVEL))
