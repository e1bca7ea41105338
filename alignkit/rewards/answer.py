"""Answers that can be compared as they stand: numbers and short texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.rewards.base import Sample
from alignkit.rewards.gold import MARK, AgainstGold, Verdict
from alignkit.rewards.sections import TAG, sections

if TYPE_CHECKING:
    from typing import Self

TAIL: Final = 300
"""Characters at a response's end in which `####` is looked for."""

_NUMBER = r"(?:(?<![0-9])-)?\$?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)"
"""The `-` of `3-5` is no sign."""
_NUMBERS = re.compile(_NUMBER)
_MARKED = re.compile(rf"{MARK}\s{{0,9}}({_NUMBER})")


class Answer(AgainstGold):
    """Whether the response's answer is the data's.

    `gsm8k` reads the number behind the last `####` in the last 300 characters, `last_number` the last number of the
    response, `tag` the text of `<answer>..</answer>`, which must be there once, and `exact` the whole response. Numbers
    are compared by value, without `,` and `$`; texts without case, and white space in them as one blank. A row whose
    right answer cannot be read so gives no score. Fractions, units and formulas are for `math`.

    Logic-RL's is `{extract: tag, after: think, right: 2, wrong: -1.5, unparsable: -2}`, with `format` beside it.

    Formula: right if the answer equals the column, wrong if it is another one, unparsable if there is none
    Paper: arXiv:2110.14168 (GSM8K); arXiv:2502.14768 (Logic-RL)
    """

    extract: Literal["gsm8k", "last_number", "tag", "exact"] = "gsm8k"
    """What is taken for the answer."""

    tag: str = Field("answer", pattern=TAG)
    """Name of the tag around the answer, for `extract: tag`."""

    after: str | None = Field(None, pattern=TAG)
    """Name of a tag that must come first, for `extract: tag`: the response is then these two sections and nothing else,
    or unparsable. Null asks for the answer's tag alone."""

    @model_validator(mode="after")
    def _after_has_a_role(self) -> Self:
        if self.after is not None and self.extract != "tag":
            raise PydanticCustomError(
                "after", f"after '{self.after}' is for extract 'tag'; '{self.extract}' looks at no tags"
            )
        if self.after == self.tag:
            raise PydanticCustomError("after", f"after and tag must be two names, got '{self.tag}' twice")
        return self

    def verdict(self, gold: str, sample: Sample) -> Verdict | None:
        if self.extract in ("gsm8k", "last_number"):
            right, found = _number(gold), self._read_number(sample.response)
            return _compared(right, found) if right is not None else None
        return _compared(_plain(gold), _plain(self._read_text(sample) or ""))

    def _read_number(self, response: str) -> Decimal | None:
        found = _MARKED.findall(response[-TAIL:]) if self.extract == "gsm8k" else _NUMBERS.findall(response)
        return _number(found[-1]) if found else None

    def _read_text(self, sample: Sample) -> str | None:
        if self.extract == "exact":
            return sample.response
        if self.after is not None:
            found: Sequence[str] | None = sections(sample.prompt, sample.response, (self.after, self.tag))
            return found[-1] if found else None
        _, *others = sample.response.split(f"<{self.tag}>")
        inside, closing, _ = others[0].partition(f"</{self.tag}>") if len(others) == 1 else ("", "", "")
        return inside if closing else None


def _compared(right: Decimal | str, found: Decimal | str | None) -> Verdict:
    if found is None or found == "":
        return "unparsable"
    return "right" if found == right else "wrong"


def _plain(text: str) -> Decimal | str:
    """A number where the text is one, else the text without what does not matter."""
    number = _number(text.strip())
    return " ".join(text.casefold().split()) if number is None else number


def _number(text: str) -> Decimal | None:
    """What a text says that is a number and nothing else."""
    return Decimal(text.replace(",", "").replace("$", "")) if _NUMBERS.fullmatch(text) else None
