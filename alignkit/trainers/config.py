"""The `training` section of a recipe: optimizer, schedule, batch, precision, checkpoints, trackers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.registry import Section


class TrainingConfig(Section):
    """How the loop runs. Every number of steps counts optimizer steps."""

    epochs: float | None = Field(None, gt=0)
    """Passes over the training rows; 1 when neither this nor `steps` is given."""

    steps: int | None = Field(None, gt=0)
    """Optimizer steps, instead of `epochs`; the rows are repeated as often as needed."""

    batch_size: int = Field(64, gt=0)
    """Effective batch: examples per optimizer step, over all processes and micro-batches."""

    micro_batch_size: int = Field(8, gt=0)
    """Most examples in one forward pass of one process. Changes memory and speed, never the result."""

    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate; null means 5e-7 for all parameters, 5e-6 with LoRA."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after the warm-up; cosine and linear end at 0."""

    warmup: float = Field(0.1, ge=0, le=1)
    """Share of the steps that the learning rate rises over, from 0 at the first."""

    optimizer: Literal["adamw", "rmsprop"] = "adamw"
    """AdamW, or RMSprop as DPO's and TI-DPO's released code use."""

    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.9, 0.999)
    """Decay rates of the first and second moment; AdamW only."""

    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay, on every trained parameter; AdamW only."""

    max_grad_norm: float | None = Field(1.0, gt=0)
    """Clip the global gradient norm to this; null does not clip."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass; auto is bf16 where the accelerator supports it, else fp32."""

    log_every: int = Field(1, gt=0)
    """Write metrics every so many steps, and at the last one."""

    save_every: int | None = Field(None, gt=0)
    """Write a checkpoint every so many steps and after the last; null writes only when stopped by a signal."""

    keep_checkpoints: int = Field(2, gt=0)
    """Newest checkpoints that are kept."""

    eval_every: int | None = Field(None, gt=0)
    """Evaluate every so many steps; null evaluates before and after training only."""

    trackers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Trackers of accelerate, such as tensorboard or wandb; none by default."""

    @model_validator(mode="after")
    def _honours_all(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise PydanticCustomError("conflict", "give either 'epochs' or 'steps', the other one null")
        for key in ("betas", "weight_decay"):
            if self.optimizer == "rmsprop" and getattr(self, key) != type(self).model_fields[key].default:
                raise PydanticCustomError(
                    "conflict", "'{key}' belongs to 'adamw'; optimizer is 'rmsprop'", {"key": key}
                )
        return self


FREE_ON_RESUME = frozenset(
    {"micro_batch_size", "log_every", "save_every", "keep_checkpoints", "eval_every", "trackers"}
)
"""Keys of `training` that a resumed run may change, because they do not change what is trained."""
