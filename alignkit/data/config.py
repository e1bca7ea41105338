"""The `data` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignkit.registry import Section
from alignkit.world.config import WorldConfig


class DataConfig(Section):
    """Where the rows come from and how they become tokens."""

    train: str
    """A file (.jsonl, .json, .csv, .parquet; .jsonl.gz too), a Hub data set id, or `builtin:world`."""

    eval: str | None = None
    """The same for held-out rows; null holds out `holdout` rows of `train`."""

    split: str = "train"
    """Split of a Hub data set; ignored by nobody: giving it for a file is an error."""

    subset: str | None = None
    """Configuration name of a Hub data set."""

    holdout: int = Field(256, ge=0)
    """Held-out rows taken from `train` when `eval` is null; chosen by the seed."""

    max_rows: int | None = Field(None, gt=0)
    """Use only the first so many rows of `train`."""

    max_length: int = Field(1024, gt=1)
    """Longest prompt + response; tokens."""

    on_overflow: Literal["error", "drop", "truncate_prompt", "truncate_response"] = "error"
    """What happens to a row longer than that: stop, drop it, cut the prompt's start, or cut the response's end."""

    on_bad_row: Literal["error", "drop"] = "error"
    """What happens to a row that cannot be used: stop before training, or drop it into `dropped.jsonl`."""

    max_bad_rows: int = Field(100, ge=0)
    """With `on_bad_row: drop`, stop after all when more rows than this are bad."""

    label_noise: float = Field(0.0, ge=0, le=1)
    """Seeded share of training pairs whose chosen and rejected are swapped."""

    world: WorldConfig | None = None
    """Options of `builtin:world`."""
