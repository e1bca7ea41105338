"""The `training` section of a recipe: optimizer, schedule, batch, precision, checkpoints, trackers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.registry import Section

Tracker = Literal["aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio", "wandb"]
"""The trackers that accelerate knows, written out so that a recipe is checked without loading it."""

Decay = Annotated[float, Field(ge=0, lt=1)]

MOST = 1_000_000_000
"""Upper bound of counts: beyond it there is a slip of the key, not a training."""


class TrainingConfig(Section):
    """How the loop runs. Every number of steps counts optimizer steps."""

    epochs: float | None = Field(None, gt=0, le=1_000_000)
    """Passes over the training rows; 1 when neither this nor `steps` is given."""

    steps: int | None = Field(None, gt=0, le=MOST)
    """Optimizer steps, instead of `epochs`; the rows are repeated as often as needed."""

    batch_size: int = Field(64, gt=0, le=MOST)
    """Effective batch: examples per optimizer step, over all processes and micro-batches."""

    micro_batch_size: int = Field(8, gt=0, le=MOST)
    """Most examples in one forward pass of one process. Changes memory and speed, never the result."""

    micro_batch_tokens: int | None = Field(None, gt=0, le=MOST)
    """Most tokens in one forward pass of one process, instead of a number of examples: prompt and responses as they are
    laid out, padding and the most that an anchor may have included. An example that is longer goes alone. Null cuts
    by `micro_batch_size`. Either way examples of one prompt and of like lengths go together."""

    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate; null means 5e-7 for all parameters, 5e-6 with LoRA."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after the warm-up; cosine and linear end at 0."""

    warmup: float = Field(0.1, ge=0, le=1)
    """Share of the steps that the learning rate rises over, from 0 at the first."""

    optimizer: Literal["adamw", "adamw_8bit", "rmsprop"] = "adamw"
    """AdamW; AdamW whose moments are held in 8 bits (bitsandbytes, extra `quant`); or RMSprop as DPO's and TI-DPO's
    released code use."""

    betas: Annotated[tuple[Decay, Decay], Field(strict=False)] = (0.9, 0.999)
    """Decay rates of the first and second moment, from 0 to below 1; AdamW only."""

    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay, on every trained parameter; AdamW only."""

    max_grad_norm: float | None = Field(1.0, gt=0)
    """Clip the global gradient norm to this; null does not clip."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass; auto is bf16 where the accelerator supports it, else fp32."""

    parameters: Literal["fp32", "bf16"] = "fp32"
    """Number format that trained parameters are held in. bf16 halves model, gradient and copies of the model; the
    optimizer (AdamW) keeps what bf16 has no room for, so that small updates are not lost. Arithmetic is bf16 then."""

    deterministic: bool = True
    """The same bits from the same recipe, seed, machine and number of threads or processes; false lets a GPU use
    operations that add in any order, for models that need one without another form."""

    log_every: int = Field(1, gt=0, le=MOST)
    """Write metrics every so many steps, and at the last one."""

    save_every: int | None = Field(500, gt=0, le=MOST)
    """Write a checkpoint every so many steps; null writes none on the way. There is always one after the last step, and
    one when a signal stops the run. Each holds the model, loadable by itself, and the optimizer's memory (for AdamW
    twice the trained parameters)."""

    keep_checkpoints: int = Field(2, gt=0, le=MOST)
    """Newest checkpoints that are kept."""

    eval_every: int | None = Field(None, gt=0, le=MOST)
    """Evaluate every so many steps; null evaluates before and after training only."""

    trackers: Annotated[tuple[Tracker, ...], Field(strict=False)] = ()
    """Where metrics and the recipe go as well, such as tensorboard or wandb; local files go to the run folder."""

    @model_validator(mode="after")
    def _honours_all(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise PydanticCustomError("conflict", "give either 'epochs' or 'steps', the other one null")
        for key in ("betas", "weight_decay"):
            if self.optimizer == "rmsprop" and getattr(self, key) != type(self).model_fields[key].default:
                raise PydanticCustomError(
                    "conflict", "'{key}' belongs to 'adamw'; optimizer is 'rmsprop'", {"key": key}
                )
        if self.parameters == "bf16":
            self._require_bf16()
        return self

    def _require_bf16(self) -> None:
        if self.optimizer != "adamw":
            raise PydanticCustomError(
                "conflict",
                "'parameters: bf16' needs optimizer 'adamw', got '{optimizer}'",
                {"optimizer": self.optimizer},
            )
        if self.precision == "fp32":
            raise PydanticCustomError(
                "conflict", "'parameters: bf16' computes in bf16; precision is 'fp32', give 'auto' or 'bf16'"
            )


FREE_ON_RESUME = frozenset(
    {
        "micro_batch_size",
        "micro_batch_tokens",
        "log_every",
        "save_every",
        "keep_checkpoints",
        "eval_every",
        "trackers",
    }
)
"""Keys of `training` that a resumed run may change, because they do not change what is trained."""

SCHEDULE = frozenset({"epochs", "steps", "schedule", "warmup"})
"""Keys of `training` that decide the learning rates; a resumed run may change them as long as the steps that were made
keep theirs."""

CAME_LATER = {"training.parameters": "fp32"}
"""Options that older records know nothing of -> what was done without them, where that is not what null says."""
