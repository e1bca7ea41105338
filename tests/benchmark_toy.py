"""A model that says what a test tells it, and how benchmarks are built."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from alignkit.benchmarks import benchmarks
from alignkit.benchmarks.base import Benchmark
from alignkit.benchmarks.items import Answer
from alignkit.benchmarks.subject import Responses, Subject

DATA = Path(__file__).parent / "data"


class Told(Subject):
    """Writes the same responses to every item, or those of a mapping by the item's name."""

    def __init__(self, says: Sequence[str] | Mapping[str, Sequence[str]], template: str | None = None) -> None:
        super().__init__(SimpleNamespace(tokenizer=SimpleNamespace(chat_template=template)))
        object.__setattr__(self, "says", says)
        object.__setattr__(self, "asked", [])

    def respond(self, items, prompts, decoding):
        self.asked.extend(prompts)
        return [
            Responses(str(prompt), texts, [np.array([1])] * len(texts), [True] * len(texts))
            for item, prompt in zip(items, prompts, strict=True)
            for texts in [self.says[item.name] if isinstance(self.says, Mapping) else self.says]
        ]


def built(name: str, **parameters: Any) -> Benchmark:
    return benchmarks.build(name, parameters)


def asked(benchmark: Benchmark, subject: Subject) -> list[Answer]:
    return list(benchmark.ask(subject, benchmark.items()))


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
