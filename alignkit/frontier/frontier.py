"""The frontier of each arm with a band, the area between two, and how far each point is from the best possible."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alignkit.errors import RunFolderError, shown
from alignkit.frontier.bootstrap import SAMPLES, drawn_again
from alignkit.frontier.chance import LEVEL, Drawn, largest_t, unless_rounding
from alignkit.frontier.curves import GRID, LEAST_KL, best_kl, curves, is_fitted, off_monotone, support
from alignkit.frontier.points import Measured, Point, read_points
from alignkit.intervals import Interval, added, holm, interval
from alignkit.lazy import numpy as np
from alignkit.registry import suggestion
from alignkit.sweep.record import read_sweep

if TYPE_CHECKING:
    from numpy import ndarray

REWARD: Final = "true_reward"
COST: Final = "kl"


@dataclass(frozen=True)
class Curve:
    """Reward over cost with a band that holds the whole curve with probability `LEVEL`.

    Attributes:
        cost: [G] places, nats where the cost is KL.
        reward: [G].
        low: [G] lower edge.
        high: [G] upper edge.
    """

    cost: Sequence[float]
    reward: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Arm:
    """One method.

    Attributes:
        name: what it is called.
        points: how many it has.
        curve: its frontier; None where fewer than two points have a distance to the reference.
        is_fitted: whether that is a parabola through all runs; else straight lines join its points.
        off_monotone: how far a parabola is from the best curve that never falls, reward; None for straight lines.
    """

    name: str
    points: int
    curve: Curve | None
    is_fitted: bool
    off_monotone: float | None


@dataclass(frozen=True)
class Place:
    """One point, over all seeds.

    Attributes:
        point: which.
        reward: its reward.
        cost: its cost.
        efficiency: the least KL for its reward over its KL; None where that is not known.
    """

    point: Point
    reward: Interval
    cost: Interval
    efficiency: Interval | None


@dataclass(frozen=True)
class Comparison:
    """One arm less the base, at equal cost.

    Attributes:
        arm: the arm.
        base: what it is compared with.
        low: cost from which both have points.
        high: cost to which both have points.
        area: mean difference of reward over log cost between the two; seeds and prompts drawn again.
        of_models: the same of these very models: prompts alone drawn again.
        p: of the test whether the area is 0, after Holm's correction for all comparisons.
        curve: the difference at each cost.
    """

    arm: str
    base: str
    low: float
    high: float
    area: Interval
    of_models: Interval
    p: float
    curve: Curve


@dataclass(frozen=True)
class Frontier:
    """All that is known of a sweep's frontiers.

    Attributes:
        reward: the measure that should be large.
        cost: what it is paid with.
        seeds: those that all points have.
        start: reward before training; NaN where it is not known.
        has_best: whether the best possible frontier is known, as on the built-in world.
        arms: the methods; the base is one of them.
        base: the one that others are compared with.
        places: all points.
        comparisons: with the base, of arms that share a range of cost with it.
        apart: arms that share none with it.
        left_out: sentences about what could not be used.
    """

    reward: str
    cost: str
    seeds: Sequence[int]
    start: float
    has_best: bool
    arms: Sequence[Arm]
    base: str
    places: Sequence[Place]
    comparisons: Sequence[Comparison]
    apart: Sequence[str]
    left_out: Sequence[str]


def frontier_of(folder: Path, reward: str = REWARD, cost: str = COST, base: str | None = None) -> Frontier:
    """The frontiers of a sweep's folder.

    Args:
        folder: of the sweep.
        reward: the measure of sampled responses that should be large.
        cost: the one that it is paid with.
        base: the arm that others are compared with; None for the first one.

    Raises:
        RunFolderError: it is no sweep, nothing in it can be used, or it has no such arm.
    """
    record = read_sweep(folder)
    if base is not None and base not in record.arms:
        raise RunFolderError(f"--base: {folder} has no arm {shown(base)}; {suggestion(base, record.arms)}")
    return frontier(read_points(folder, record, reward, cost), reward, cost, base)


def frontier(
    measured: Measured, reward: str = REWARD, cost: str = COST, base: str | None = None, samples: int = SAMPLES
) -> Frontier:
    """The frontiers of what was measured.

    Args:
        measured: reward and cost of each run, prompt by prompt.
        reward: what the one is called.
        cost: what the other is called.
        base: the arm that others are compared with; None for the first one.
        samples: how often everything is drawn again.
    """
    base = base or measured.arms[0]
    has_best = (reward, cost) == (REWARD, COST) and 0 < measured.start < 1
    scene = _Scene(measured, samples)
    arms = [scene.arm(name) for name in measured.arms]
    pairs = [(name, scene.common(name, base)) for name in measured.arms if name != base]
    compared = [scene.comparison(name, base, ends) for name, ends in pairs if ends is not None]
    adjusted = holm([one.area.p for one in compared])
    return Frontier(
        reward,
        cost,
        measured.seeds,
        measured.start,
        has_best,
        arms,
        base,
        [scene.place(place, measured.start if has_best else None) for place in range(len(measured.points))],
        [replace(one, p=p) for one, p in zip(compared, adjusted, strict=True)],
        [name for name, ends in pairs if ends is None],
        [*measured.left_out, *scene.left_out],
    )


class _Scene:
    """What was measured, and what it would have been with other seeds and prompts."""

    def __init__(self, measured: Measured, samples: int) -> None:
        self.measured = measured
        self.means = measured.means
        self.count = len(measured.seeds)
        self.prompts = min(map(len, measured.counts))
        self.again = drawn_again(measured, seeds=True, samples=samples) if self.count > 1 else None
        self.of_models = drawn_again(measured, seeds=False, samples=samples)
        is_far = (self.means[:, 1].min(0) > LEAST_KL).tolist()
        self.used = {arm: [place for place in measured.of(arm) if is_far[place]] for arm in measured.arms}
        self.left_out = [
            f"{point.arm} {point.label}: at the reference, so it has no place on a scale of log KL"
            for place, point in enumerate(measured.points)
            if not is_far[place]
        ]

    def arm(self, name: str) -> Arm:
        """The frontier of one arm."""
        used = self.used[name]
        if len(used) < 2:
            return Arm(name, len(used), None, False, None)
        log_kl, reward = np.log(self.means[:, 1, used]), self.means[:, 0, used]
        grid = np.linspace(*support(log_kl), GRID)
        curve = self._banded(grid, self._curve(name, grid), self._drawn(lambda runs: self._curves(name, grid, runs)))
        return Arm(name, len(used), curve, is_fitted(len(used)), off_monotone(log_kl, reward))

    def common(self, name: str, base: str) -> tuple[float, float] | None:
        """The range of log cost in which both arms have points; None where there is none."""
        if min(len(self.used[name]), len(self.used[base])) < 2:
            return None
        ends = [support(np.log(self.means[:, 1, self.used[arm]])) for arm in (name, base)]
        low, high = max(one[0] for one in ends), min(one[1] for one in ends)
        return (low, high) if low < high else None

    def comparison(self, name: str, base: str, ends: tuple[float, float]) -> Comparison:
        """One arm less another over a range of log cost; p is filled in when all are there."""
        grid = np.linspace(*ends, GRID)
        estimate = self._curve(name, grid) - self._curve(base, grid)
        drawn = self._drawn(lambda runs: self._curves(name, grid, runs) - self._curves(base, grid, runs))
        area = self._interval(float(estimate.mean()), drawn.mean())
        error = unless_rounding(float(drawn.of_models.mean(1).std(ddof=1)))
        alone = interval(area.value, error, n=self.count, df=self.prompts - 1, level=LEVEL)
        curve = self._banded(grid, estimate, drawn)
        return Comparison(name, base, math.exp(ends[0]), math.exp(ends[1]), area, alone, math.nan, curve)

    def place(self, place: int, start: float | None) -> Place:
        """One point with its intervals."""
        mean = self.means[:, :, place].mean(0)

        def of(kind: int) -> Interval:
            drawn = self._drawn(lambda runs: runs[:, :, kind, place].mean(1))
            return self._interval(float(mean[kind]), drawn)

        def shares(runs: ndarray) -> ndarray:
            both = runs[..., place].mean(1)
            found: ndarray = best_kl(both[:, 0], start or 0.0) / both[:, 1]
            return found

        reward, cost = of(0), of(1)
        efficiency = None
        if start is not None and cost.value > LEAST_KL:
            efficiency = self._interval(float(best_kl(reward.value, start) / cost.value), self._drawn(shares))
        return Place(self.measured.points[place], reward, cost, efficiency)

    def _curve(self, name: str, grid: ndarray) -> ndarray:
        found: ndarray = self._curves(name, grid, self.means[None])[0]
        return found

    def _curves(self, name: str, grid: ndarray, runs: ndarray) -> ndarray:
        """[B, G] of [B, S, 2, N] runs."""
        used = self.used[name]
        return curves(np.log(np.maximum(runs[:, :, 1, used], LEAST_KL)), runs[:, :, 0, used], grid)

    def _drawn(self, what: Callable[[ndarray], ndarray]) -> Drawn:
        return Drawn(None if self.again is None else what(self.again), what(self.of_models), self.count, self.prompts)

    def _interval(self, value: float, drawn: Drawn) -> Interval:
        return added(
            [
                interval(unless_rounding(value), unless_rounding(float(error)), n=self.count, df=df, level=LEVEL)
                for error, df, _ in drawn.parts
            ]
        )

    def _banded(self, grid: ndarray, estimate: ndarray, drawn: Drawn) -> Curve:
        """A curve with a band that is as wide as its largest deviation anywhere asks for.

        Nowhere is its spread taken to be less than that of the whole curve: of few seeds the curves cross by chance
        somewhere, and look as if they were certain there.
        """
        halves = []
        for error, df, again in drawn.parts:
            spread = np.maximum(error, np.sqrt((error**2).mean()))
            halves.append(largest_t(again, spread, df) * spread)
        half = np.sqrt(np.square(halves).sum(0))
        return Curve(np.exp(grid).tolist(), estimate.tolist(), (estimate - half).tolist(), (estimate + half).tolist())
