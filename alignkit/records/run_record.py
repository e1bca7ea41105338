"""What the JSON files of a run folder hold."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignkit.records.files import Record

Moment = Literal["before", "after", "change"]


class Session(Record):
    """One process that worked on a run."""

    command: list[str]
    """The command line, one string per argument."""

    started: str
    """UTC."""

    platform: str
    """Operating system and processor."""

    versions: dict[str, str]
    """Of Python and packages."""

    plugins: dict[str, str] = Field(default_factory=dict)
    """Package -> version, or file -> hash, of what the recipe's components come from beside alignkit."""

    libraries: dict[str, str] = Field(default_factory=dict)
    """Recipe library -> version, revision, commit and hash, of those that the recipe was put together from."""


class Resumption(Session):
    """A session that went on with what others had begun."""

    changes: dict[str, str] = Field(default_factory=dict)
    """Dotted recipe keys that it changed -> `value before, now value`."""


class RunRecord(Session):
    """`run.json`: the first session, and what came after it."""

    ended: str | None
    """UTC; null until the run is finished."""

    seed: int
    """The recipe's."""

    fingerprints: dict[str, str]
    """What went in (`data`, `template`, `model`) -> hash, hex."""

    revisions: dict[str, str | None] = Field(default_factory=dict)
    """What the first session took from the Hub (`model`, `model.base`, `model.tokenizer`, `data.train`, `data.eval`) ->
    its commit; null where that is not known."""

    is_chat: bool | None = None
    """Whether the training rows are conversations, which the chat template renders; null in older records."""

    evaluations: dict[str, str] = Field(default_factory=dict)
    """`before`, `after`, `change` -> sha256 of their values in `eval.json`."""

    resumed: list[Resumption]
    """The later sessions."""


class Evaluations(Record):
    """`eval.json`; a number that is NaN or infinite is null there, as JSON has neither."""

    before: dict[str, float | None] | None = None
    after: dict[str, float | None] | None = None
    change: dict[str, float | None] | None = None
    """From before to after, with its standard errors."""
