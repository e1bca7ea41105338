"""One reward asked about samples, and what it does wrong in one line."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alignkit.errors import AlignkitError, RewardError, printable, shown
from alignkit.registry import LARGEST
from alignkit.rewards.base import Reward, Sample


def ask(reward: Reward, samples: Sequence[Sample]) -> list[float | None]:
    """What a reward says of samples, as plain numbers.

    Args:
        reward: any; a slow one is asked here and now.
        samples: at least one.

    Raises:
        RewardError: it raises, or gives something else than a finite number or None for each sample.
    """
    try:
        scores = reward.score(samples)
    except AlignkitError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and type(error) is not SystemExit:  # a signal's, which ends the run
            raise
        said = f"{type(error).__name__}: {printable(str(error))}" if str(error) else type(error).__name__
        raise RewardError(
            f"reward '{reward.title}' raises {said} ({_place(reward, error)}, {_whose(samples)})"
        ) from error
    if isinstance(scores, str | bytes) or not (hasattr(scores, "__len__") and hasattr(scores, "__iter__")):
        raise RewardError(f"reward '{reward.title}' returns {type(scores).__name__}; expected a list of {len(samples)}")
    if len(scores) != len(samples):
        raise RewardError(f"reward '{reward.title}' returns {len(scores)} scores for {len(samples)} samples")
    return [_number(reward, sample, score) for sample, score in zip(samples, scores, strict=True)]


def _number(reward: Reward, sample: Sample, score: Any) -> float | None:  # noqa: ANN401 -- whatever a plugin gives
    if score is None:
        return None
    try:
        if isinstance(score, str | bytes):
            raise TypeError
        number = float(score)  # numpy's numbers and tensors without dimensions too
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if not abs(number) <= LARGEST:
        wanted = f"a number of at most {LARGEST:g} in size" if math.isfinite(number) else "a finite number"
        raise RewardError(
            f"reward '{reward.title}' returns {shown(score, 60)} ({_whose([sample])}); expected {wanted}, or None "
            "where there is no score"
        )
    return number


def _whose(samples: Sequence[Sample]) -> str:
    """Which samples, by the number of the first one's row as messages about data count."""
    first = f"row {samples[0].group + 1} of the data"
    return first if len(samples) == 1 else f"{len(samples)} samples, the first of {first}"


def _place(reward: Reward, error: BaseException) -> str:
    """`file:line` in the reward's own file where that is on the way, else where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = getattr(sys.modules.get(type(reward).__module__), "__file__", None)
    frame = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1])
    return printable(f"{Path(frame.filename).name}:{frame.lineno}")
