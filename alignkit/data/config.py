"""The `data` section of a recipe."""

from __future__ import annotations

import os
import re
from typing import Literal

from pydantic import Field, field_validator

from alignkit.data.sources import SourceSlot, sources
from alignkit.data.sources.base import Source
from alignkit.registry import Section
from alignkit.world.config import WorldConfig

DEFAULT_HOLDOUT = 256
_NAME = re.compile(r"[\w-]+")


class DataConfig(Section):
    """Where the rows come from and how they become tokens."""

    train: str | SourceSlot
    """A file (.jsonl, .json, .csv, each also with .gz, or .parquet), a Hub data set id, or `builtin:world`.
    Another source, such as a plugin's, is given as its mapping."""

    eval: str | SourceSlot | None = None
    """The same for held-out rows, other than `train`; null holds out rows of `train`, or takes the world's held-out
    pairs."""

    split: str | None = None
    """Split of the Hub data set `train`; null means train. Refused for a file."""

    eval_split: str | None = None
    """Split of the Hub data set `eval`; null means test. Refused for a file."""

    subset: str | None = None
    """Configuration name of the Hub data sets. Refused for a file."""

    revision: str | None = Field(None, min_length=1)
    """Branch, tag or commit of the Hub data sets; null takes the newest. Give a commit to make a run repeatable.
    Refused for a file."""

    holdout: int | None = Field(None, ge=0)
    """Held-out rows taken from `train` when `eval` is null; null means 256. Refused where it has no use: the world has
    `world.eval_pairs`."""

    max_rows: int | None = Field(None, gt=0)
    """Read only the first so many rows of `train`; of a file that is large, the rest is left unread."""

    separator: str = ""
    """Text put between prompt and response of plain text; refused for conversations. Most data needs none."""

    max_length: int = Field(1024, gt=1)
    """Longest prompt + response; tokens."""

    on_overflow: Literal["error", "drop", "truncate_prompt", "truncate_response"] = "error"
    """What happens to a row longer than that: stop, drop it, cut the prompt's start, or cut the response's end."""

    on_bad_row: Literal["error", "drop"] = "error"
    """What happens to a row that cannot be used: stop before training, or drop it into `dropped.jsonl`."""

    max_bad_rows: int = Field(100, ge=0)
    """With `on_bad_row: drop`, stop after all when more rows than this are bad."""

    label_noise: float = Field(0.0, ge=0, le=1)
    """Chance that a training pair has its chosen and rejected swapped, or a labelled response its label, drawn per row
    from the seed."""

    world: WorldConfig | None = None
    """Options of `builtin:world`; null means its defaults. Refused for any other source."""

    @field_validator("train", "eval", mode="before")
    @classmethod
    def _word_may_name_source(cls, value: object) -> object:
        """A word stands for the source of this name, unless something in the working folder is called so."""
        is_name = isinstance(value, str) and _NAME.fullmatch(value) and value in sources.names()
        return {"name": value} if is_name and not os.path.lexists(str(value)) else value

    @property
    def given(self) -> tuple[str | Source, ...]:
        """What `train` and, where it is given, `eval` say."""
        return (self.train,) if self.eval is None else (self.train, self.eval)

    @property
    def labels(self) -> tuple[str, ...]:
        """What these are called in reports."""
        return tuple(given if isinstance(given, str) else given.label for given in self.given)
