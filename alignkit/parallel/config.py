"""The `parallel` section of a recipe: how one training is spread over its processes."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

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

    def misfit(self, processes: int) -> tuple[str, str] | None:
        """What these processes cannot honour: a key of the section, and what would be right.

        Args:
            processes: of the run.
        """
        if self.strategy != "fsdp":
            return None
        shard = processes // self.replicate if self.shard is None else self.shard
        if processes < 2:
            return "strategy", (
                "'fsdp' cuts the model into pieces for several processes, and there is one; start more "
                "(alignkit launch RECIPE --processes 2), or give 'ddp'"
            )
        if shard * self.replicate != processes:
            key, given = ("replicate", self.replicate) if self.shard is None else ("shard", self.shard)
            return key, (
                f"{given} given, but {processes} processes run; shard x replicate must be the number of processes"
            )
        if shard < 2:
            return "replicate", "leaves nothing to cut: each process would hold the whole model; give 'ddp'"
        return None
