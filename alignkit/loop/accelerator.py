"""The accelerate `Accelerator` of a run: devices, processes, precision and trackers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.errors import Problem, RecipeError
from alignkit.lazy import accelerate, torch
from alignkit.loop.config import TrainingConfig
from alignkit.loop.eight_bit import NEEDED, is_installed
from alignkit.records.files import one_line

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(config: TrainingConfig, folder: Path) -> Accelerator:
    """The accelerator that `config` asks for; `start_trackers` when the run begins, `end_training` when all is done.

    Args:
        config: how to train.
        folder: the run folder; trackers that keep local files do so below its `trackers/`.

    Raises:
        RecipeError: the precision, the optimizer or a tracker cannot be had, or the launcher asks for what the loop
            cannot honour.
    """
    _check_trackers(config)
    if config.optimizer == "adamw_8bit" and not is_installed():
        raise RecipeError([Problem("", "training.optimizer", f"'{config.optimizer}' {NEEDED}")])
    accelerator = accelerate.Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision="bf16" if _wants_bf16(config) else "no",
        log_with=list(config.trackers) or None,
        project_config=accelerate.utils.ProjectConfiguration(str(folder), logging_dir=str(folder / "trackers")),
    )
    _check_launcher(accelerator)
    return accelerator


@contextmanager
def own_state() -> Iterator[None]:
    """Accelerators made inside know nothing of those outside, nor these of them.

    accelerate keeps the precision and what belongs to gradients once for the whole process, so that a second run could
    not have another precision than the first; what its processes are stays.
    """
    shared = [kind._shared_state for kind in (accelerate.state.AcceleratorState, accelerate.state.GradientState)]
    before = [dict(state) for state in shared]
    for state in shared:
        state.clear()
    try:
        yield
    finally:
        for state, was in zip(shared, before, strict=True):
            state.clear()
            state.update(was)


def start_trackers(accelerator: Accelerator, folder: Path, settings: Mapping[str, object]) -> None:
    """Tells the trackers of `accelerator` that a run begins, what it is called and what its settings are.

    Args:
        accelerator: from `make_accelerator`; nothing happens when it has no trackers.
        folder: the run folder; its name is the run's.
        settings: dotted key -> value; what TensorBoard cannot hold (null, an empty list) becomes text.
    """
    if not accelerator.log_with:
        return
    files = folder / "trackers"
    options = {  # what each tracker calls the run's name and the folder of its files
        "clearml": {"task_name": folder.name},
        "dvclive": {"dir": str(files / "dvclive")},
        "mlflow": {"run_name": folder.name},
        "swanlab": {"experiment_name": folder.name, "logdir": str(files / "swanlab")},
        "trackio": {"name": folder.name},
        "wandb": {"name": folder.name, "dir": str(files)},
    }
    if accelerator.is_main_process:
        with one_line(files):
            files.mkdir(exist_ok=True)
    config = {
        key: value if isinstance(value, str | int | float) else json.dumps(value) for key, value in settings.items()
    }
    accelerator.init_trackers("alignkit", config=config, init_kwargs=options)


def _wants_bf16(config: TrainingConfig) -> bool:
    supported = accelerate.utils.is_bf16_available(ignore_tpu=True)
    for key in ("precision", "parameters"):
        if getattr(config, key) == "bf16" and not supported:
            raise RecipeError([Problem("", f"training.{key}", "this device has no bf16; give 'fp32'")])
    # On a CPU bf16 works but is slower than fp32 in most, so only a recipe that says so gets it.
    return "bf16" in (config.precision, config.parameters) or (
        config.precision == "auto" and supported and torch.accelerator.is_available()
    )


def _check_trackers(config: TrainingConfig) -> None:
    # accelerate gives members of an enum that are not equal to their names.
    installed = {getattr(one, "value", one) for one in accelerate.tracking.get_available_trackers()}
    problems = [
        Problem(
            "",
            f"training.trackers.{number}",
            f"tracker '{name}' is not installed; install its package or remove it from the list",
        )
        for number, name in enumerate(config.trackers)
        if name not in installed
    ]
    if problems:
        raise RecipeError(problems)


def _check_launcher(accelerator: Accelerator) -> None:
    engine = accelerator.distributed_type.value
    if accelerator.gradient_accumulation_steps != 1:
        raise RecipeError(
            f"accelerate is configured with gradient_accumulation_steps={accelerator.gradient_accumulation_steps}; "
            "leave it at 1 and give training.batch_size and training.micro_batch_size"
        )
    # On a CPU accelerate forgets that it was asked for one of these, and trains with plain data parallelism.
    asked = [name for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM") if _is_on(f"ACCELERATE_USE_{name}")]
    if asked or engine in ("FSDP", "DEEPSPEED", "MEGATRON_LM", "XLA"):
        raise RecipeError(
            f"accelerate is configured for {asked[0] if asked else engine}, which this loop does not drive; start "
            "plain processes (alignkit launch), and give parallel.strategy: fsdp to cut a model"
        )


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("1", "true", "yes")
