"""The accelerate `Accelerator` of a run: devices, processes, precision and trackers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.errors import Problem, RecipeError
from alignkit.lazy import accelerate, torch
from alignkit.registry import suggestion
from alignkit.trainers.config import TrainingConfig

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(config: TrainingConfig, folder: Path) -> Accelerator:
    """The accelerator that `config` asks for; trackers write below `folder`. Call `end_training` when all is done.

    Raises:
        RecipeError: the precision or a tracker cannot be had, or the launcher asks for what the loop cannot honour.
    """
    _check_trackers(config)
    accelerator = accelerate.Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision="bf16" if _wants_bf16(config) else "no",
        log_with=list(config.trackers) or None,
        project_dir=folder,
    )
    _check_launcher(accelerator)
    if config.trackers:
        accelerator.init_trackers("alignkit")
    return accelerator


def _wants_bf16(config: TrainingConfig) -> bool:
    supported = accelerate.utils.is_bf16_available(ignore_tpu=True)
    if config.precision == "bf16" and not supported:
        raise RecipeError([Problem("", "training.precision", "this device has no bf16; give 'fp32' or 'auto'")])
    # On a CPU bf16 works but is slower than fp32 in most, so only a recipe that says so gets it.
    return config.precision == "bf16" or (config.precision == "auto" and supported and torch.accelerator.is_available())


def _check_trackers(config: TrainingConfig) -> None:
    known = sorted(tracker for tracker in accelerate.utils.LoggerType.list() if tracker != "all")
    installed = accelerate.tracking.get_available_trackers() if config.trackers else []
    for number, name in enumerate(config.trackers):
        if name not in known:
            message = f"unknown tracker '{name}'; {suggestion(name, known)}"
        elif name not in installed:
            message = f"tracker '{name}' is not installed; install its package or remove it from the list"
        else:
            continue
        raise RecipeError([Problem("", f"training.trackers.{number}", message)])


def _check_launcher(accelerator: Accelerator) -> None:
    engine = accelerator.distributed_type.value
    if accelerator.gradient_accumulation_steps != 1:
        raise RecipeError(
            f"accelerate is configured with gradient_accumulation_steps={accelerator.gradient_accumulation_steps}; "
            "leave it at 1 and give training.batch_size and training.micro_batch_size"
        )
    if engine in ("FSDP", "DEEPSPEED", "MEGATRON_LM", "XLA"):
        raise RecipeError(
            f"accelerate is configured for {engine}, whose sharded parameters the checkpoints cannot hold; "
            "launch with plain data parallelism (accelerate launch --multi_gpu)"
        )
