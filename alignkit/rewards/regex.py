"""What a pattern finds."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from alignkit.errors import shown
from alignkit.lazy import regex
from alignkit.rewards.base import Reward, Sample

SECONDS: Final = 1.0
"""Longest search of one response; some patterns would take years."""

MOST_REPEATS: Final = 100_000
"""Product of a pattern's counts, `{1000}`; what is repeated so is written out when it is compiled, gigabytes of it."""

_COUNT = re.compile(r"\{(\d+)")


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
        said = _complaint(pattern)
        if said is not None:
            raise PydanticCustomError("pattern", "{said}", {"said": f"{said}, got {shown(pattern)}"})
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


def _complaint(pattern: str) -> str | None:
    """Why a pattern cannot be used."""
    if math.prod(max(1, int(count)) for count in _COUNT.findall(pattern)) > MOST_REPEATS:
        return f"counts that multiply to more than {MOST_REPEATS:,}"
    try:
        regex.compile(pattern)
    except regex.error as error:
        return f"no regular expression: {error}"
    except RecursionError:
        return "no regular expression: nested too deeply"
    return None
