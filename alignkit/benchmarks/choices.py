"""Questions with given choices, of which the model likes one best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from alignkit.benchmarks.decoding import Chat
from alignkit.benchmarks.items import Answer, Item
from alignkit.benchmarks.rows import WithShots, text
from alignkit.data.raw import RawRow
from alignkit.errors import BenchmarkError, shown

if TYPE_CHECKING:
    from alignkit.benchmarks.subject import Subject

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_WANTED = "a row of choices has 'question', 'choices', and 'answer' or 'labels'"


class Choices(WithShots):
    """Any multiple choice, by the log-prob that the model gives each choice after the question.

    accuracy: share of items whose likeliest choice is a true one.
    acc_norm: the same by log-prob per character; long choices lose less.
    mc2: probability of the true choices among all given ones, as TruthfulQA's MC2.

    Formula: mc2 = sum of p over true choices / sum of p over all, p = exp(log-prob of the choice)
    Rows: question, choices (list of texts), answer (place from 0, letter or text) or labels (list of 0 and 1)
    Paper: arXiv:2109.07958 (TruthfulQA, MC2)
    """

    official: ClassVar[str] = "such as cais/mmlu, truthfulqa/truthful_qa or allenai/ai2_arc as rows of this form"

    cluster: str | None = Field(None, min_length=1)
    """Column with what items have in common, such as a subject; null where each stands alone."""

    style: Literal["text", "letters"] = "text"
    """`text` scores the choices themselves, `letters` lists them as `A. ...` and scores the letters."""

    chat: Chat = False
    """Whether prompts go through the chat template; auto: where the model's tokenizer has one. The likelihood of plain
    continuations is what is usually reported."""

    def item_of(self, row: RawRow) -> Item:
        question = text(row, "question", _WANTED)
        choices = _choices(row)
        labels = _labels(row, choices)
        if self.cluster is not None and row.fields.get(self.cluster) is None:
            raise BenchmarkError(f"{row.where}: '{self.cluster}': is not there; it is the column of the clusters")
        if self.style == "letters" and len(choices) > len(LETTERS):
            raise BenchmarkError(f"{row.where}: 'choices': {len(choices)} are more than there are letters")
        fields = {"question": question, "choices": choices, "labels": labels}
        group = {"cluster": str(row.fields[self.cluster])} if self.cluster is not None else {}
        return Item(str(row.fields.get("id", row.index)), fields | group, row.where)

    def ask(self, subject: Subject, items: Sequence[Item]) -> Sequence[Answer]:
        blank = "" if subject.is_chat(self.chat) else " "
        prompts = [subject.prompt(self._asked(item), self._shots(item), self.chat) for item in items]
        options = [[blank + one for one in self._options(item)] for item in items]
        found = subject.likelihoods(items, list(zip(prompts, options, strict=True)))
        return [
            Answer(
                item.name,
                scores(logps, item.fields["labels"], list(map(len, self._options(item)))),
                item.fields["choices"][logps.index(max(logps))],
                prompt,
                cluster=item.fields.get("cluster"),
            )
            for item, (prompt, logps) in zip(items, found, strict=True)
        ]

    def _shots(self, item: Item) -> list[tuple[str, str]]:
        """The examples, each with its first true choice."""
        shots = item.fields["shots"]
        return [(self._asked(one), self._options(one)[one.fields["labels"].index(True)]) for one in shots]

    def _asked(self, item: Item) -> str:
        listed = zip(LETTERS, item.fields["choices"], strict=False) if self.style == "letters" else ()
        lines = [f"Question: {item.fields['question']}", *(f"{letter}. {choice}" for letter, choice in listed)]
        return "\n".join([*lines, "Answer:"])

    def _options(self, item: Item) -> list[str]:
        choices: list[str] = item.fields["choices"]
        return list(LETTERS[: len(choices)]) if self.style == "letters" else choices


def scores(logps: Sequence[float], labels: Sequence[bool], lengths: Sequence[int]) -> dict[str, float]:
    """What the log-probs of an item's choices say.

    Args:
        logps: of each choice, nats.
        labels: whether each is true.
        lengths: characters of each.
    """
    by_length = [logp / length for logp, length in zip(logps, lengths, strict=True)]
    shares = [math.exp(logp - max(logps)) for logp in logps]
    true = sum(share for share, label in zip(shares, labels, strict=True) if label)
    return {
        "accuracy": float(labels[logps.index(max(logps))]),
        "acc_norm": float(labels[by_length.index(max(by_length))]),
        "mc2": true / sum(shares),
    }


def _choices(row: RawRow) -> list[str]:
    value: Any = row.fields.get("choices")
    value = value.get("text") if isinstance(value, Mapping) else value
    is_fit = isinstance(value, list | tuple) and len(value) > 1 and all(isinstance(one, str) and one for one in value)
    if not is_fit:
        raise BenchmarkError(f"{row.where}: 'choices': expected a list of at least two texts; {_WANTED}")
    return [str(one) for one in value]


def _labels(row: RawRow, choices: Sequence[str]) -> list[bool]:
    labels: Any = row.fields.get("labels")
    answer = row.fields.get("answer")
    if labels is not None:
        is_list = isinstance(labels, list) and len(labels) == len(choices)
        if is_list and all(one in (0, 1) for one in labels) and any(labels):
            return [bool(one) for one in labels]
        raise BenchmarkError(f"{row.where}: 'labels': expected a 0 or 1 for each choice, at least one 1; {_WANTED}")
    place = answer if isinstance(answer, int) and not isinstance(answer, bool) else None
    if isinstance(answer, str) and answer in choices:
        place = choices.index(answer)
    elif isinstance(answer, str) and len(answer) == 1 and answer in LETTERS:
        place = LETTERS.index(answer)
    if place is None or not 0 <= place < len(choices):
        known = f"a place from 0 to {len(choices) - 1}, a letter or one of the choices"
        raise BenchmarkError(f"{row.where}: 'answer': expected {known}, got {shown(answer, 60)}; {_WANTED}")
    return [n == place for n in range(len(choices))]
