"""What frontiers allow to be said: which arm is better, and whether that is noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from alignkit.frontier.frontier import Comparison, Frontier
from alignkit.intervals import Interval

ALPHA: Final = 0.05
"""p-value, after Holm's correction, below which a difference is called more than noise."""

FEW_SEEDS: Final = 4
"""Seeds below which it is said how wide they make the intervals."""


def sentences(found: Frontier) -> Iterator[str]:
    """One for each arm that is not the base, then what limits them."""
    for one in found.comparisons:
        yield _compared(found, one)
    for arm in found.apart:
        yield (
            f"{arm} and {found.base} have no range of {found.cost} in which both have two points, so nothing is said "
            "of them: give them settings that reach the same distance."
        )
    count = len(found.seeds)
    if count == 1:
        yield "One seed: the intervals know of prompts only, and another seed may give another answer."
    elif count < FEW_SEEDS:
        yield f"{count} seeds say little about other seeds, so the intervals are wide; each further one narrows them."


def _compared(found: Frontier, one: Comparison) -> str:
    value, area = one.area.value, one.area
    if area.se == 0 and value == 0:
        return f"{one.arm} and {one.base} are the same: difference 0, p 1."
    where = f"on average over {found.cost} {one.low:.3g} to {one.high:.3g}"
    numbers = f"{value:+.4f}, 95 % interval {area.low:+.4f} to {area.high:+.4f}, {_p(found, one)}, {_seeds(found)}"
    if one.p < ALPHA:
        better = "better" if value > 0 else "worse"
        if len(found.seeds) == 1:
            who, noise = (
                f"Of these very models {one.arm}",
                "the noise of the prompts; of the methods one seed tells nothing",
            )
        else:
            who, noise = one.arm, "noise"
        return (
            f"{who} is {better} than {one.base}: at equal {found.cost} its {found.reward} differs by {numbers}, "
            f"{where}. That is more than {noise}."
        )
    return (
        f"Whether {one.arm} is better than {one.base} cannot be told: at equal {found.cost} its {found.reward} differs "
        f"by {numbers}, {where}. That may be noise: a difference of {area.visible():.2g} would be "
        f"seen in 80 % of such sweeps.{_of_models(found, one)}"
    )


def _of_models(found: Frontier, one: Comparison) -> str:
    """What can be said of the models that were trained, where nothing can be said of the methods."""
    if len(found.seeds) == 1:
        return ""
    ends = f"{one.of_models.low:+.4f} to {one.of_models.high:+.4f}"
    if one.of_models.low > 0 or one.of_models.high < 0:
        return (
            f" Of these very models it is more than the noise of the prompts ({ends}); whether other seeds would give "
            "such models is what cannot be told."
        )
    return f" Even of these very models it is within the noise of the prompts ({ends})."


def _p(found: Frontier, one: Comparison) -> str:
    if len(found.comparisons) < 2:
        return f"p {_number(one.p)}"
    return f"p {_number(one.area.p)}, {_number(one.p)} after Holm's correction for {len(found.comparisons)} comparisons"


def _number(p: float) -> str:
    return "unknown" if math.isnan(p) else "below 0.0001" if p < 1e-4 else f"{p:.2g}"


def _seeds(found: Frontier) -> str:
    return f"{len(found.seeds)} seed{'s' if len(found.seeds) > 1 else ''}"


def how(found: Frontier) -> Iterator[str]:
    """How the numbers came about."""
    kinds = {arm.is_fitted for arm in found.arms if arm.curve is not None}
    if True in kinds:
        yield (
            f"A frontier of four points or more is the least-squares parabola of {found.reward} in log {found.cost} "
            "through all runs."
        )
    if False in kinds:
        yield "A frontier of two or three points joins their means over seeds with straight lines."
    yield "It is drawn between its first and last point and nowhere else, and is no upper envelope."
    drawn = "seeds, and inside each seed its prompts, are" if len(found.seeds) > 1 else "prompts are"
    yield (
        f"For bands and intervals {drawn} drawn again 2,000 times with replacement, the same for all arms; a band "
        "holds its whole curve with 95 % probability, and Student's t widens it for few seeds."
    )
    yield (
        f"The area between two frontiers is the mean difference of {found.reward} over log {found.cost} where both "
        "have points."
    )
    for arm in found.arms:
        if arm.is_fitted and arm.off_monotone is not None:
            yield f"{arm.name}: the parabola is at most {arm.off_monotone:.3f} from the best curve that never falls."
    if found.has_best:
        yield (
            f"The best frontier possible is KL*(R) = R ln(R/p) + (1 - R) ln((1 - R)/(1 - p)) with p = "
            f"{found.start:.3f}, the reward before training; efficiency is KL* over KL."
        )


def cell(one: Interval | None, digits: int = 3) -> str:
    """`0.812 +-0.020`, half of its interval; nothing for None."""
    if one is None:
        return ""
    half = (one.high - one.low) / 2
    return f"{one.value:.{digits}f}" + (f" +-{half:.{digits}f}" if math.isfinite(half) else "")
