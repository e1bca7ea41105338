"""What a pattern finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from alignkit.errors import shown
from alignkit.lazy import regex
from alignkit.rewards.base import Reward, Sample

SECONDS: Final = 1.0
"""Longest search of one response; some patterns would take years."""


class Regex(Reward):
    """Whether a pattern matches the response's text.

    A response that takes more than a second gets no score: write the pattern so that nothing in it can be repeated in
    two ways. `(?i)` at its start ignores case, `(?s)` lets `.` match line ends.

    Formula: right if the pattern matches, else wrong
    """

    pattern: str = Field(min_length=1, max_length=1000)
    """Regular expression of the package `regex`, which extends Python's."""

    mode: Literal["search", "fullmatch"] = "search"
    """Whether a match may lie anywhere in the response or must be all of it."""

    right: float = 1.0
    """Reward of a response that matches."""

    wrong: float = 0.0
    """Reward of one that does not."""

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        try:
            regex.compile(pattern)
        except regex.error as error:
            said = f"no regular expression: {error}, got {shown(pattern)}"
            raise PydanticCustomError("pattern", "{said}", {"said": said}) from None
        return pattern

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [self._value(sample.response) for sample in samples]

    def _value(self, text: str) -> float | None:
        pattern = regex.compile(self.pattern)
        look = pattern.search if self.mode == "search" else pattern.fullmatch
        try:
            return self.wrong if look(text, timeout=SECONDS) is None else self.right
        except TimeoutError:
            return None
