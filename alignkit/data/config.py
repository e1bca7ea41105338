"""The `data` section of a recipe."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.data.sources import SourceSlot, sources
from alignkit.data.sources.base import Part
from alignkit.errors import shown
from alignkit.registry import Section
from alignkit.world.config import WorldConfig

ChatUse = Literal["auto", "always", "never"]
TypedAs = Literal["as_text", "as_control", "error"]

PARTS: tuple[Part, ...] = ("train", "eval")
DEFAULT_HOLDOUT = 256
_NAME = re.compile(r"[\w-]+")


def _as_source(value: object) -> object:
    """A word stands for the source of this name, unless something in the working folder is called so."""
    is_name = isinstance(value, str) and _NAME.fullmatch(value) and value in sources.names()
    return {"name": value} if is_name and not os.path.lexists(str(value)) else value


def _one_each(value: dict[str, str] | None) -> dict[str, str] | None:
    """A column of the data stands for one name."""
    for number, (ours, other) in enumerate((value or {}).items()):
        if other in (before := list((value or {}).values())[:number]):
            first = list(value or {})[before.index(other)]
            said = f"column {shown(other)} is named twice, as '{first}' and '{ours}'; a column is one of them"
            raise PydanticCustomError("columns", "{said}", {"said": said})
    return value


Names = Annotated[dict[str, str], AfterValidator(_one_each)]


class Share(Section):
    """One of several sources."""

    path: Annotated[str | SourceSlot, BeforeValidator(_as_source)]
    """What `data.train` may be: a file, a Hub data set id, `builtin:world`, or a source's mapping."""

    weight: float = Field(1.0, gt=0, le=1000)
    """How many times each of its training rows comes in one pass: 2 is twice, 0.5 a half of them that the seed draws,
    2.5 twice and a half of them once more. Held-out rows come once."""

    columns: Names | None = None
    """As `data.columns`, for this source; null means those."""

    split: str | None = None
    """Split of a Hub data set; null means train, and test in `data.eval`. Refused for a file."""

    subset: str | None = None
    """Configuration name of a Hub data set. Refused for a file."""

    revision: str | None = Field(None, min_length=1)
    """Branch, tag or commit of a Hub data set; null takes the newest. Refused for a file."""

    @model_validator(mode="before")
    @classmethod
    def _text_is_path(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value


Shares = Annotated[tuple[Share, ...], Field(min_length=1, strict=False)]


class DataConfig(Section):
    """Where the rows come from and how they become tokens."""

    train: Annotated[str | SourceSlot | Shares, BeforeValidator(_as_source)]
    """A file (.jsonl, .json, .csv, each also with .gz, or .parquet), a Hub data set id, or `builtin:world`.
    Another source, such as a plugin's, is given as its mapping, several as a list."""

    eval: Annotated[str | SourceSlot | Shares | None, BeforeValidator(_as_source)] = None
    """The same for held-out rows, other than `train`; null holds out rows of `train`, or takes the world's held-out
    pairs."""

    columns: Names = Field(default_factory=dict)
    """What the data calls a column that has another name here: `{prompt: question, chosen: response_j}`."""

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
    """Read only the first so many rows of `train`, of each where there are several; of a file that is large, the rest
    is left unread."""

    separator: str = ""
    """Text put between prompt and response of plain text; refused for conversations. Most data needs none."""

    chat: ChatUse = "auto"
    """Whether plain text becomes turns that the chat template renders, the prompt the user's: `auto` where the
    tokenizer has a template and prompts are no transcripts or rendered conversations."""

    train_on: Literal["last_turn", "all_turns"] = "last_turn"
    """Of conversations, for trainer `sft`: the last turn of the assistant, or each, as a row of its own with all before
    it as the prompt."""

    special_tokens_in_text: TypedAs = "as_text"
    """What becomes of a control token (`<eos>`, `<|im_end|>`) that stands in a row's own text: tokenised as the text it
    is, as what it controls, or the row cannot be used. Rows that have one are counted."""

    max_length: int = Field(1024, gt=1)
    """Longest prompt + response; tokens. Of the prompt alone where the run samples its responses."""

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

    def shares(self, part: Part) -> tuple[Share, ...]:
        """What `train` or `eval` says, as if several sources could be given only; none without `eval`."""
        given = self.train if part == "train" else self.eval
        if given is None or isinstance(given, tuple):
            return given or ()
        return (Share(path=given),)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the sources are called in reports."""
        given = [share.path for part in PARTS for share in self.shares(part)]
        return tuple(path if isinstance(path, str) else path.label for path in given)
