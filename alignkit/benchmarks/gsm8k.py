"""GSM8K: problems of grade-school mathematics, answered in words with a number at the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from pydantic import Field

from alignkit.benchmarks.decoding import Decoding
from alignkit.benchmarks.items import Answer, Item
from alignkit.benchmarks.rows import NewTokens, WithShots, text
from alignkit.data.raw import RawRow

if TYPE_CHECKING:
    from alignkit.benchmarks.subject import Subject

_STRICT: Final = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE: Final = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_MARK: Final = re.compile(r".*#### ", re.DOTALL)
_STOPS: Final = ("Question:", "</s>", "<|im_end|>")


class Gsm8k(WithShots):
    """Share of right answers to GSM8K's problems, read in the two ways of lm-evaluation-harness' task `gsm8k` (3.0).

    strict_match: the number behind the first `####`; a model that is not shown the format rarely writes that.
    flexible_extract: the last number of the response, whatever stands around it.
    A base model is asked `Question: ...` and `Answer:` after the shots, a chat model in turns with the same texts.

    Rows: question, answer (worked out, with `#### 18` at its end).
    Paper: arXiv:2110.14168
    """

    official: ClassVar[str] = "data set openai/gsm8k, config main, split test"

    shots: int = Field(5, ge=0, le=100)
    """Solved examples before each question, the same before all of them, drawn with `seed`."""

    max_new_tokens: NewTokens = 256
    """Longest response; tokens."""

    def item_of(self, row: RawRow) -> Item:
        wanted = "a row of gsm8k has 'question' and 'answer'"
        fields = {key: text(row, key, wanted) for key in ("question", "answer")}
        return Item(str(row.index), fields, row.where)

    def ask(self, subject: Subject, items: Sequence[Item]) -> Sequence[Answer]:
        prompts = [subject.prompt(_asked(item), _shots(item), self.chat) for item in items]
        found = subject.respond(items, prompts, Decoding(self.seed, max_new_tokens=self.max_new_tokens))
        return [
            Answer(item.name, scores(one.texts[0], item.fields["answer"]), one.texts[0], one.prompt)
            for item, one in zip(items, found, strict=True)
        ]


def _asked(item: Item) -> str:
    return f"Question: {item.fields['question']}\nAnswer:"


def _shots(item: Item) -> list[tuple[str, str]]:
    return [(_asked(shown), shown.fields["answer"]) for shown in item.fields["shots"]]


def scores(response: str, answer: str) -> dict[str, float]:
    """Both readings of a response, up to where it begins a question of its own.

    Args:
        response: what the model wrote.
        answer: the row's.
    """
    for stop in _STOPS:
        response = response.partition(stop)[0]
    strict, flexible = _STRICT.findall(response), _FLEXIBLE.findall(response)
    right = _plain(answer)
    return {
        "strict_match": float(bool(strict) and _plain(strict[0]) == right),
        "flexible_extract": float(bool(flexible) and _plain(flexible[-1]) == right),
    }


def _plain(answer: str) -> str:
    """Without what the harness' exact match takes away."""
    return _MARK.sub("", answer.strip().replace(",", "").replace("$", "")).removesuffix(".").lower()
