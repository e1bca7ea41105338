"""Tasks of EleutherAI's lm-evaluation-harness, on the model in hand."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.benchmarks import harness
from alignkit.benchmarks.base import Benchmark
from alignkit.benchmarks.decoding import Chat
from alignkit.benchmarks.items import Answer, Item
from alignkit.data.files import no_file
from alignkit.errors import BenchmarkError, shown

if TYPE_CHECKING:
    from typing import Self

    from alignkit.benchmarks.subject import Subject

INSTALL = "pip install 'alignkit[eval]'"


class LmEval(Benchmark):
    """Tasks of lm-evaluation-harness by their official definitions: MMLU, GPQA, TruthfulQA, IFEval and some thousands.

    Each metric that is a mean over items is reported as `TASK/METRIC,FILTER`; of a group, such as mmlu, over the items
    of all its tasks, with the task as cluster. With `local` no task needs a network. Needs the extra `eval`.

    Paper: arXiv:2405.14782
    """

    tasks: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)]
    """Names of tasks or groups, as `lm_eval --tasks` knows them."""

    folder: str | None = Field(None, min_length=1)
    """Folder with definitions of more tasks (YAML)."""

    local: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)
    """Task -> split -> file (.jsonl, .json, .csv, also .gz, or .parquet) that takes the place of the task's data set,
    with the columns of that."""

    shots: int | None = Field(None, ge=0, le=100)
    """Solved examples before each question; null for the task's own number."""

    limit: int | None = Field(None, gt=0)
    """Items that are asked of each task, a sample drawn with `seed`; null for all."""

    chat: Chat = False
    """Whether prompts go through the chat template; auto: where the model's tokenizer has one. Most published numbers
    are without."""

    @property
    def together(self) -> int | None:
        return 10**9  # the harness makes batches itself

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        if importlib.util.find_spec("lm_eval") is None:
            said = f"benchmark 'lm_eval' needs the package lm_eval, which is not installed; run: {INSTALL}"
            raise PydanticCustomError("extra", "{said}", {"said": said})
        for task in self.tasks:
            if task.startswith(("humaneval", "mbpp")):
                said = f"task {shown(task)} runs code of the model outside a sandbox; take benchmark 'humaneval'"
                raise PydanticCustomError("unsafe", "{said}", {"said": said})
        return self

    def check(self) -> None:
        whose = f"evaluation.benchmarks.{self.title}"
        if self.folder is not None and not Path(self.folder).is_dir():
            raise BenchmarkError(f"{whose}.folder: there is no folder {shown(self.folder)}")
        for task, files in self.local.items():
            for split, path in files.items():
                if complaint := no_file(path):
                    raise BenchmarkError(
                        f"{whose}.local.{task}.{split}: {complaint}; put that split of the task's data set there"
                    )
        harness.require_known(whose, self.local)
        self.items()

    def items(self) -> Sequence[Item]:
        folder = Path(self.folder).resolve() if self.folder else None
        local = {
            task: {split: str(Path(path).resolve()) for split, path in files.items()}
            for task, files in self.local.items()
        }
        return harness.items(self.tasks, folder, json.dumps(local), limit=self.limit, seed=self.seed)

    def ask(self, subject: Subject, items: Sequence[Item]) -> Sequence[Answer]:
        return harness.ask(subject, items, shots=self.shots, chat=subject.is_chat(self.chat))
