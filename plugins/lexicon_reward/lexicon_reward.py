"""Words that a response should hold, and words that it should not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.errors import shown
from alignkit.rewards.base import Reward, Sample

if TYPE_CHECKING:
    from typing import Self

Words = Annotated[tuple[Annotated[str, Field(pattern=r"^\w+$")], ...], Field(strict=False, max_length=10_000)]

_WORD = re.compile(r"\w+")


class Lexicon(Reward):
    """How many more words of a response are liked than disliked, as a share of all its words.

    A share, so that saying more of the same earns nothing. A response without words gets 0.

    Formula: (liked - disliked) / words
    """

    liked: Words = ()
    """Words that count 1, whatever their case."""

    disliked: Words = ()
    """Words that count -1, whatever their case."""

    @model_validator(mode="after")
    def _each_in_one_list(self) -> Self:
        liked, disliked = ({word.casefold() for word in words} for words in (self.liked, self.disliked))
        if both := sorted(liked & disliked):
            said = f"{shown(both[0])} is liked and disliked; leave it in one list"
            raise PydanticCustomError("lexicon", "{said}", {"said": said})
        if not liked | disliked:
            raise PydanticCustomError("lexicon", "no word is liked or disliked; give some")
        return self

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [self._value(sample.response) for sample in samples]

    def _value(self, text: str) -> float:
        worth = {word.casefold(): 1 for word in self.liked} | {word.casefold(): -1 for word in self.disliked}
        words = _WORD.findall(text.casefold())
        return sum(worth.get(word, 0) for word in words) / max(1, len(words))
