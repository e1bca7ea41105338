"""Whether a program that the response holds passes the tests of its row."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from alignkit.errors import RewardError
from alignkit.rewards.base import Reward, Sample
from alignkit.rewards.sandbox import passes

_FENCED = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)

_BEYOND = re.compile(r"^(?:class |def |@|#|if |print\(|```)", re.MULTILINE)
"""Where a continuation has left the function that the prompt begins: the stop words customary for HumanEval."""


class Code(Reward):
    """1 where the response's Python passes the row's tests, else 0; in time, and with the standard library alone.

    The program is the first fenced block that defines `entry_point` (or the first one, where the row names none), after
    the prompt where that is Python itself; a response without a block continues the prompt. Rows are those of HumanEval
    (`test` defines `check(candidate)`), or have assert lines, as those of MBPP.

    Code that the model writes is run only where the command line says so (`alignkit run --execute-code`), in a sandbox
    of namespaces and limits: process isolation, not a security boundary.
    """

    slow: ClassVar[bool] = True
    executes_code: ClassVar[bool] = True

    tests: str = Field("test", min_length=1)
    """Column with the tests: Python that defines `check(candidate)`, assert lines, or a list of these."""

    entry_point: str | None = Field("entry_point", min_length=1)
    """Column with the name of the function that is tested; null where assert lines call it by name."""

    time_limit: float = Field(5.0, gt=0, le=600)
    """Longest time of a program, seconds by the clock; less than `timeout`. What takes longer fails."""

    @model_validator(mode="after")
    def _fails_before_it_is_given_up(self) -> Self:
        if self.time_limit >= self.timeout:
            raise ValueError(f"time_limit must be less than timeout, got {self.time_limit:g} and {self.timeout:g}")
        return self

    def columns(self) -> frozenset[str]:
        return frozenset({self.tests} if self.entry_point is None else {self.tests, self.entry_point})

    def score(self, samples: Sequence[Sample]) -> Sequence[float | None]:
        return [self._score(sample) for sample in samples]

    def _score(self, sample: Sample) -> float | None:
        name = None if self.entry_point is None else sample.columns[self.entry_point]
        tests = sample.columns[self.tests]
        tests = "\n".join(map(str, tests)) if isinstance(tests, list | tuple) else tests
        if not isinstance(tests, str) or not tests.strip() or not (name is None or _is_name(name)):
            return None
        program = f"{program_of(sample, name)}\n\n{tests}\n"
        if re.search(r"^def check\(", tests, re.MULTILINE):
            if name is None:
                raise RewardError(f"reward '{self.title}': tests define 'check', so 'entry_point' must name a column")
            program += f"\ncheck({name})\n"
        passed = passes(program, self.time_limit)
        return None if passed is None else float(passed)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier()


def program_of(sample: Sample, name: str | None) -> str:
    """The program of a response.

    Args:
        sample: its response is code, text with fenced blocks, or goes on where the prompt ends.
        name: the function that it should define; None where that is not known.
    """
    prompt = str(sample.messages[-1].get("content") or "") if sample.messages else sample.prompt
    prompt = next(iter(_FENCED.findall(prompt)), prompt)
    given = _python_or_nothing(prompt)
    blocks: list[str] = _FENCED.findall(sample.response)
    if blocks:
        defining = [block for block in blocks if _defines(block, name)]
        return f"{given}\n\n{(defining or blocks)[0]}"
    if name is None or _defines(sample.response, name):
        return f"{given}\n\n{sample.response}"
    end = _BEYOND.search(sample.response)
    return prompt + sample.response[: end.start() if end else None]


def _defines(code: str, name: str | None) -> bool:
    return name is None or re.search(rf"^(?:async )?def {name}\b", code, re.MULTILINE) is not None


def _python_or_nothing(text: str) -> str:
    """The text where it is whole Python, as a signature with its docstring and what is imported before it."""
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return text
