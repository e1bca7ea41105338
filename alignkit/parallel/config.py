"""The `parallel` section of a recipe: how one training is spread over its processes."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.errors import Problem, RecipeError
from alignkit.registry import Section

MOST = 1_000_000
"""Upper bound of numbers of processes."""


class ParallelConfig(Section):
    """What each process holds of the model. It changes memory and speed; of the result, last bits at most."""

    strategy: Literal["ddp", "fsdp"] = "ddp"
    """`ddp`: the whole model in each process; `fsdp`: parameters, gradients and the optimizer's memory are cut into
    pieces, and each process holds one of them."""

    shard: int | None = Field(None, gt=0, le=MOST)
    """Pieces that the model is cut into; processes. null means all processes / `replicate`. `fsdp` only."""

    replicate: int = Field(1, gt=0, le=MOST)
    """Groups of processes that hold all pieces; processes = shard x replicate. Usually machines. `fsdp` only."""

    offload: bool = False
    """Keep the pieces, and take the optimizer's step, in the memory of the CPU. `fsdp` only."""

    @model_validator(mode="after")
    def _honours_all(self) -> Self:
        for key in ("shard", "replicate", "offload"):
            if self.strategy == "ddp" and getattr(self, key) != type(self).model_fields[key].default:
                raise PydanticCustomError("conflict", "'{key}' belongs to 'fsdp'; strategy is 'ddp'", {"key": key})
        return self

    def check(self, processes: int, batch_size: int, optimizer: str = "adamw") -> None:
        """Refuses what these processes cannot honour; asked before anything is loaded.

        Args:
            processes: of the run.
            batch_size: examples per optimizer step, over all processes.
            optimizer: of the training.

        Raises:
            RecipeError: they do not fit.
        """
        if self.strategy != "fsdp":
            return
        if optimizer == "adamw_8bit":
            said = "'adamw_8bit' cannot be cut into pieces, as its scales are of whole tensors; give 'adamw', or 'ddp'"
            raise RecipeError([Problem("", "training.optimizer", said)])
        if problem := self._misfit(processes, batch_size):
            raise RecipeError([problem])

    def _misfit(self, processes: int, batch_size: int) -> Problem | None:
        shard = processes // self.replicate if self.shard is None else self.shard
        if processes < 2:
            return Problem(
                "",
                "parallel.strategy",
                "'fsdp' cuts the model into pieces for several processes, and there is one; start more "
                "(alignkit launch RECIPE --processes 2), or give 'ddp'",
            )
        if shard * self.replicate != processes:
            key, given = ("replicate", self.replicate) if self.shard is None else ("shard", self.shard)
            return Problem(
                "",
                f"parallel.{key}",
                f"{given} given, but {processes} processes run; shard x replicate must be the number of processes",
            )
        if shard < 2:
            return Problem(
                "", "parallel.replicate", "leaves nothing to cut: each process would hold the whole model; give 'ddp'"
            )
        if batch_size < processes:
            return Problem(
                "",
                "training.batch_size",
                f"{batch_size} given for {processes} processes, of which some would have nothing to do; "
                "give at least one example per process",
            )
        return None
