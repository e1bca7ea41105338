"""What can be demanded of a text and checked by counting."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.registry import Section

if TYPE_CHECKING:
    from typing import Self

Count = Annotated[int | None, Field(ge=0)]
Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, max_length=1000)]

_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_BULLET = re.compile(r"^[ \t]*[-*•][ \t]+\S", re.MULTILINE)


class Demands(Section):
    """Any number of them; what is not given is not demanded. Counts are for scripts with blanks between words."""

    min_words: Count = None
    """Fewest words; what an apostrophe or a hyphen joins is one."""

    max_words: Count = None
    """Most words."""

    min_sentences: Count = None
    """Fewest sentences; one ends with `.`, `!` or `?` before white space, or where the text does."""

    max_sentences: Count = None
    """Most sentences."""

    must: Texts = ()
    """Words or phrases that must be there, each a demand of its own; whole words, whatever their case."""

    must_not: Texts = ()
    """Words or phrases that must not be there, each a demand of its own."""

    case: Literal["lower", "upper"] | None = None
    """Case of all letters."""

    bullets: Count = None
    """Lines that begin with `-`, `*` or `•` and a blank: exactly so many."""

    is_json: bool = False
    """Whether the whole text must parse as JSON."""

    ends_with: str | None = Field(None, min_length=1)
    """What the text must end with, white space apart."""

    no_commas: bool = False
    """Whether there must be no comma."""

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        for what in ("words", "sentences"):
            fewest, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if fewest is not None and most is not None and fewest > most:
                raise PydanticCustomError("range", f"min_{what} {fewest} is more than max_{what} {most}; swap them")
        return self

    def met(self, text: str) -> Iterator[bool]:
        """Whether a text meets each demand."""
        yield from self._counted("words", len(_WORD.findall(text)))
        yield from self._counted("sentences", sum(map(bool, _SENTENCE_END.split(text.strip()))))
        yield from (_has(text, phrase) for phrase in self.must)
        yield from (not _has(text, phrase) for phrase in self.must_not)
        if self.case is not None:
            yield text == (text.lower() if self.case == "lower" else text.upper())
        if self.bullets is not None:
            yield len(_BULLET.findall(text)) == self.bullets
        if self.is_json:
            yield _is_json(text)
        if self.ends_with is not None:
            yield text.rstrip().endswith(self.ends_with.rstrip())
        if self.no_commas:
            yield "," not in text

    def _counted(self, what: str, number: int) -> Iterator[bool]:
        fewest, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
        if fewest is not None:
            yield number >= fewest
        if most is not None:
            yield number <= most


def _has(text: str, phrase: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE) is not None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
