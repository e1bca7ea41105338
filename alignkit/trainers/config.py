"""The `training` section of a recipe: optimizer, schedule, batch, precision, checkpoints, trackers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from alignkit.registry import Section


class TrainingConfig(Section):
    """How the loop runs. Every number of steps counts optimizer steps."""

    epochs: float = Field(1.0, gt=0)
    """Passes over the training rows; ignored by nobody: give either this or `steps`."""

    steps: int | None = Field(None, gt=0)
    """Optimizer steps; when given, replaces `epochs` and the rows are repeated as often as needed."""

    batch_size: int = Field(64, gt=0)
    """Effective batch: examples per optimizer step, over all processes and micro-batches."""

    micro_batch_size: int = Field(8, gt=0)
    """Most examples in one forward pass of one process. Changes memory and speed, never the result."""

    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate; null means 5e-7 for all parameters, 5e-6 with LoRA."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after the warm-up; cosine and linear end at 0."""

    warmup: float = Field(0.1, ge=0, le=1)
    """Share of the steps that the learning rate rises over."""

    optimizer: Literal["adamw", "rmsprop"] = "adamw"
    """AdamW, or RMSprop as DPO's and TI-DPO's released code use."""

    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.9, 0.999)
    """AdamW's decay rates of the first and second moment."""

    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay of AdamW."""

    max_grad_norm: float | None = Field(1.0, gt=0)
    """Clip the global gradient norm to this; null does not clip."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass; auto is bf16 where the accelerator supports it, else fp32."""

    log_every: int = Field(1, gt=0)
    """Write metrics every so many steps."""

    save_every: int | None = Field(None, gt=0)
    """Write a checkpoint every so many steps; null writes only when stopped early."""

    keep_checkpoints: int = Field(2, gt=0)
    """Newest checkpoints that are kept."""

    eval_every: int | None = Field(None, gt=0)
    """Evaluate every so many steps; null evaluates before and after training only."""

    trackers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Trackers of accelerate, such as tensorboard or wandb; none by default."""
