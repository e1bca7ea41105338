"""Axes of a chart: from numbers to places on the drawing, and the round numbers that are written beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TICKS = 6
"""About how many numbers an axis has."""


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        low: number at its start.
        high: number at its end, above `low`.
        start: place of `low` on the drawing; units of its view box.
        end: place of `high`.
        step: distance of two ticks, as a number.
    """

    low: float
    high: float
    start: float
    end: float
    step: float

    @classmethod
    def over(cls, values: Iterable[float], start: float, end: float, limits: tuple[float, float] | None) -> Axis:
        """One that holds all finite values, from a round number to another, unless it has its limits."""
        if limits is not None:
            return cls(*limits, start, end, _step(limits[1] - limits[0]))
        finite = [value for value in values if math.isfinite(value)]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
            low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
        step = _step(high - low)
        return cls(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, start, end, step)

    def at(self, value: float) -> float:
        """The place of a number, kept on the drawing."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + min(max(share, -0.02), 1.02) * (self.end - self.start), 1)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Place and text of each tick."""
        decimals = max(0, -math.floor(math.log10(self.step) + 1e-9))
        is_long = max(abs(self.low), abs(self.high)) >= 1e6 or decimals > 4
        for index in range(math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9) + 1):
            value = index * self.step
            yield self.at(value), f"{value:.3g}" if is_long else f"{value:,.{decimals}f}"


def _step(span: float) -> float:
    """1, 2 or 5 times a power of ten."""
    rough = span / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
