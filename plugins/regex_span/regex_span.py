"""What a pattern finds in a response counts more: its numbers, its code, the line that states the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import regex
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from alignkit.asks.needs import Needs
from alignkit.asks.texts import TextValues
from alignkit.data.characters import overlaps
from alignkit.errors import DataError, shown
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SECONDS: Final = 2.0
"""Longest search of one response; some patterns would take years."""


class Matches(TextValues):
    """1 on the tokens that hold a character of a match, 0 on all others."""

    pattern: str
    """Regular expression."""

    @property
    def words(self) -> str:
        return f"matches of {shown(self.pattern, 60)} in the responses' texts"

    def of_text(self, text: str, offsets_N2: np.ndarray) -> np.ndarray:
        """Searched from left to right, matches do not overlap.

        Raises:
            DataError: the pattern takes too long on this text.
        """
        try:
            found = [match.span() for match in regex.finditer(self.pattern, text, timeout=SECONDS)]
        except TimeoutError:
            raise DataError(
                f"weighting 'regex_span': the pattern {shown(self.pattern)} takes more than {SECONDS:g} s on a "
                f"response of {len(text):,} characters; write it so that nothing can be repeated in two ways"
            ) from None
        return overlaps(offsets_N2, found)


class RegexSpan(TokenWeighting):
    """Tokens that hold a character of what a pattern matches in the response's text.

    The end token holds no text and is never matched.

    Formula: W_t = `weight` if a match touches token t, else `elsewhere`
    """

    knows_prompt = False

    pattern: str = Field(min_length=1, max_length=1000)
    """Regular expression of the package `regex`, which extends Python's; `(?i)` at its start ignores case."""

    weight: float = Field(4.0, ge=0)
    """Weight of the matched tokens before rescaling; dimensionless."""

    elsewhere: float = Field(1.0, ge=0)
    """Weight of the other tokens before rescaling; 0 leaves the matches alone, and no match equal weights."""

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise PydanticCustomError(
                "pattern", "{said}", {"said": f"no regular expression: {error}, got {shown(pattern)}"}
            ) from None
        return pattern

    @property
    def _values(self) -> Matches:
        return Matches(pattern=self.pattern)

    def needs(self) -> Needs:
        return Needs(values=frozenset({self._values}))

    def raw(self, span: Span) -> Tensor:
        matched_BS = span.values[self._values]
        return self.elsewhere + (self.weight - self.elsewhere) * matched_BS
