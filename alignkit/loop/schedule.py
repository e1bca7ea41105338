"""The learning rate of each step, and whether a run may go on under another schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alignkit.errors import CheckpointError
from alignkit.lazy import torch, transformers
from alignkit.loop.config import SCHEDULE, TrainingConfig
from alignkit.loop.order import planned_steps


def warmup_steps(config: TrainingConfig, num_steps: int) -> int:
    """Optimizer steps that the learning rate rises over."""
    return math.ceil(config.warmup * num_steps)


def learning_rate_factor(config: TrainingConfig, num_steps: int) -> Callable[[int], float]:
    """step (from 0) -> factor of the peak learning rate; transformers' schedules, so the first warm-up step has 0.

    A function of the step alone: unlike a scheduler object it has no state that a resume could get wrong.
    """
    name = "constant_with_warmup" if config.schedule == "constant" else config.schedule
    stand_in = torch.optim.SGD([torch.zeros(1)], lr=1.0)  # transformers gives schedules bound to an optimizer only
    scheduler = transformers.get_scheduler(name, stand_in, warmup_steps(config, num_steps), num_steps)
    factor: Callable[[int], float] = scheduler.lr_lambdas[0]
    return factor


def check_rates(
    path: Path, made_with: Mapping[str, Any], now: TrainingConfig, num_rows: int, done: int, updates: int = 1
) -> None:
    """Refuses to go on from a checkpoint whose steps had other learning rates than this run gives them.

    Args:
        path: the checkpoint.
        made_with: its record of what decides the training; the schedule in it is checked.
        now: how this run trains.
        num_rows: training rows, the same for both.
        done: optimizer steps that the checkpoint has made.
        updates: optimizer steps that each batch is there for.

    Raises:
        CheckpointError: a rate differs, or more steps were made than this run has.
    """
    before = _schedule_of(path, made_with, now)
    old_steps, new_steps = (planned_steps(config, num_rows, updates) for config in (before, now))
    if done > new_steps:
        raise CheckpointError(f"{path}: {done} steps are done, this run has {new_steps}; give training.steps >= {done}")
    if all(getattr(before, key) == getattr(now, key) for key in SCHEDULE):
        return
    old, new = learning_rate_factor(before, old_steps), learning_rate_factor(now, new_steps)
    differing = next((step for step in range(done) if old(step) != new(step)), None)
    if differing is None:
        return
    rate = now.learning_rate or 0.0
    raise CheckpointError(
        f"{path}: cannot go on to step {new_steps}: {_named(now, new_steps)} has other learning rates than "
        f"{_named(before, old_steps)}: {rate * new(differing):.4g} at step {differing + 1}, where "
        f"{rate * old(differing):.4g} was used; {_remedy(before, now, old_steps, new_steps)}"
    )


def _schedule_of(path: Path, made_with: Mapping[str, Any], now: TrainingConfig) -> TrainingConfig:
    recorded = {key: made_with.get(f"training.{key}") for key in SCHEDULE}
    try:
        return TrainingConfig.model_validate({**now.model_dump(mode="json"), **recorded})
    except ValidationError:
        raise CheckpointError(f"{path}: its record of the schedule is not one of ours; start a new run") from None


def _named(config: TrainingConfig, num_steps: int) -> str:
    return f"{config.schedule} over {num_steps} steps with a warm-up of {warmup_steps(config, num_steps)}"


def _remedy(before: TrainingConfig, now: TrainingConfig, old_steps: int, new_steps: int) -> str:
    """What would be right."""
    if before.schedule == now.schedule == "constant":
        warmup = warmup_steps(before, old_steps)
        share = max(0.0, warmup - 0.5) / new_steps  # rounded up to exactly so many steps
        return f"give training.warmup={share:.3g} too, which keeps the warm-up of {warmup} steps"
    return "undo the change, or start a new run"
