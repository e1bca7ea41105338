"""Questions with checkable answers, and how good an answer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.benchmarks.base import Benchmark
from alignkit.benchmarks.decoding import Decoding
from alignkit.benchmarks.items import Answer, Item

if TYPE_CHECKING:
    from alignkit.benchmarks.subject import Subject


class Template(Benchmark):
    """Share of small sums whose result the response names.

    sum_named: whether the right number stands in the response as a word of its own.
    """

    count: int = Field(4, gt=0, le=81)
    """How many sums are asked."""

    def items(self) -> Sequence[Item]:
        pairs = [(a, b) for a in range(1, 10) for b in range(1, 10)]
        return [Item(f"{a}+{b}", {"a": a, "b": b}) for a, b in pairs[: self.count]]

    def ask(self, subject: Subject, items: Sequence[Item]) -> Sequence[Answer]:
        prompts = [f"{item.fields['a']} + {item.fields['b']} =" for item in items]
        answers = []
        for item, one in zip(
            items, subject.respond(items, prompts, Decoding(self.seed, max_new_tokens=8)), strict=True
        ):
            right = str(item.fields["a"] + item.fields["b"])
            answers.append(
                Answer(item.name, {"sum_named": float(right in one.texts[0].split())}, one.texts[0], one.prompt)
            )
        return answers
