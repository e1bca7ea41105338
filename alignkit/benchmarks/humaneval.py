"""HumanEval: Python functions written from their signature and docstring, run against tests."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.benchmarks.decoding import Decoding
from alignkit.benchmarks.items import Answer, Item
from alignkit.benchmarks.rows import FromFile, NewTokens, text
from alignkit.data.raw import RawRow
from alignkit.errors import BenchmarkError
from alignkit.rewards.base import Sample
from alignkit.rewards.code import Code
from alignkit.rewards.judge import Judge
from alignkit.rewards.sandbox import require_permission

if TYPE_CHECKING:
    from typing import Self

    from alignkit.benchmarks.subject import Responses, Subject

ASKED: Final = "Write the body of this Python function. Answer with the whole function in one block of code.\n\n"


class HumanEval(FromFile):
    """Share of problems whose tests a sampled program passes: pass@k of `samples` programs each.

    A base model continues the function, up to where it leaves it; a chat model is asked for the whole function in a
    block of code. Programs run in the sandbox of reward `code`, which `--execute-code` allows.

    Formula: pass@k = 1 - C(n - c, k) / C(n, k), n samples of which c pass
    Rows: task_id, prompt, test (defines `check(candidate)`), entry_point
    Paper: arXiv:2107.03374
    """

    executes_code: ClassVar[bool] = True
    official: ClassVar[str] = "data set openai/openai_humaneval, split test"

    samples: int = Field(1, gt=0, le=1000)
    """Programs sampled for each problem."""

    k: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(strict=False, min_length=1)] = (1,)
    """The k of pass@k; each at most `samples`."""

    temperature: float = Field(0.0, ge=0)
    """Divides the logits; 0 takes the likeliest token each time, which only one sample makes sense with."""

    max_new_tokens: NewTokens = 512
    """Longest response; tokens."""

    time_limit: float = Field(5.0, gt=0, le=600)
    """Longest time of a program, seconds by the clock; what takes longer fails."""

    @model_validator(mode="after")
    def _draws_as_many_as_it_counts(self) -> Self:
        if max(self.k) > self.samples:
            said = f"k {max(self.k)} is more than samples {self.samples}; sample more, or lower k"
            raise PydanticCustomError("k", "{said}", {"said": said})
        if self.samples > 1 and not self.temperature:
            said = f"temperature 0 gives the same program {self.samples} times; give a temperature such as 0.8"
            raise PydanticCustomError("temperature", "{said}", {"said": said})
        return self

    def check(self) -> None:
        require_permission(f"evaluation.benchmarks.{self.title}")
        super().check()

    def item_of(self, row: RawRow) -> Item:
        wanted = "a row of humaneval has 'task_id', 'prompt', 'test' and 'entry_point'"
        fields = {key: text(row, key, wanted) for key in ("task_id", "prompt", "test", "entry_point")}
        if not fields["entry_point"].isidentifier():
            raise BenchmarkError(f"{row.where}: 'entry_point': expected the name of a function")
        return Item(fields["task_id"], fields, row.where)

    def ask(self, subject: Subject, items: Sequence[Item]) -> Sequence[Answer]:
        asked = ASKED + "```python\n{}```"
        prompts = [subject.prompt(item.fields["prompt"], (), self.chat, asked) for item in items]
        found = subject.respond(
            items, prompts, Decoding(self.seed, self.samples, self.temperature, self.max_new_tokens)
        )
        is_chat = subject.is_chat(self.chat)
        samples = [
            sample for item, one in zip(items, found, strict=True) for sample in _samples(item, one, is_chat=is_chat)
        ]
        passed = self._passed(samples)
        answers = []
        for place, (item, one) in enumerate(zip(items, found, strict=True)):
            own = passed[place * self.samples : (place + 1) * self.samples]
            of_all = {f"pass@{k}": pass_at(k, len(own), sum(own)) for k in self.k}
            for number, (good, program) in enumerate(zip(own, one.texts, strict=True)):
                of_one = {"pass@1": float(good)} if 1 in self.k else {}  # whose mean over samples is that of all
                answers.append(Answer(item.name, of_all | of_one, program, one.prompt, number))
        return answers

    def _passed(self, samples: Sequence[Sample]) -> list[bool]:
        code = Code(name="code", time_limit=self.time_limit, timeout=2 * self.time_limit + 10)
        with Judge([code]) as judge:
            (scores,) = judge(samples)
            again = [place for place, score in enumerate(scores) if score is None]
            if again:  # a machine that is too busy cannot begin every program
                for place, score in zip(again, judge([samples[place] for place in again])[0], strict=True):
                    scores[place] = score
        if None in scores:
            item = samples[scores.index(None)].columns["task_id"]
            raise BenchmarkError(f"{item}: its program could not be run, twice; give the machine less to do at once")
        return [score == 1 for score in scores]


def _samples(item: Item, one: Responses, *, is_chat: bool) -> list[Sample]:
    messages = [{"role": "user", "content": item.fields["prompt"]}] if is_chat else None
    return [
        Sample(
            prompt=item.fields["prompt"],
            response=response,
            response_ids=ids,
            finished=finished,
            columns=item.fields,
            messages=messages,
        )
        for response, ids, finished in zip(one.texts, one.ids, one.finished, strict=True)
    ]


def pass_at(k: int, samples: int, passed: int) -> float:
    """The unbiased estimate of the chance that one of k programs passes."""
    return 1 - comb(samples - passed, k) / comb(samples, k)
