"""Between lm-evaluation-harness and benchmarks: its tasks as items, its samples as answers."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import random
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alignkit.benchmarks.items import Answer, Item
from alignkit.data.raw import first_line
from alignkit.errors import AlignkitError, BenchmarkError, printable, shown
from alignkit.lazy import lm_eval_evaluator, lm_eval_models, lm_eval_tasks
from alignkit.seeds import derive

if TYPE_CHECKING:
    from alignkit.benchmarks.subject import Subject

Local = Mapping[str, Mapping[str, str]]
"""Task -> split -> file."""

_LOADERS: Final = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
"""Ending of a file -> what `datasets` calls its reader."""


def require_known(whose: str, local: Local) -> None:
    """Refuses local files of tasks that the harness does not define, or of a kind that it does not read.

    Args:
        whose: place of the benchmark in the recipe, for messages.
        local: the files.

    Raises:
        BenchmarkError: in one line.
    """
    for task, files in local.items():
        if _definition(task) is None:
            raise BenchmarkError(f"{whose}.local: lm-evaluation-harness defines no task {shown(task)}")
        loaders = {_loader(path) for path in files.values()}
        if None in loaders or len(loaders) != 1:
            raise BenchmarkError(
                f"{whose}.local.{task}: expected files of one kind ({', '.join(_LOADERS)}), got "
                f"{', '.join(map(shown, files.values())) or 'none'}"
            )


@cache
def items(tasks: tuple[str, ...], folder: Path | None, local: str, *, limit: int | None, seed: int) -> tuple[Item, ...]:
    """The documents of tasks, or a sample of each; kept, as all that the harness defines takes 10 s to read.

    Args:
        tasks: names of tasks or groups.
        folder: more definitions.
        local: files in the place of data sets, as JSON of `Local`.
        limit: items of each task; None for all.
        seed: decides which.

    Raises:
        BenchmarkError: a task is not known, or its data cannot be had.
    """
    found: list[Item] = []
    with _quiet(), tempfile.TemporaryDirectory() as own:
        for task, files in json.loads(local).items():
            (Path(own) / f"{task}.yaml").write_text(_yaml(task, files), encoding="utf-8")
        folders: list[str | Path] = [own, *([folder] if folder else [])]
        with _in_words("lm_eval: the tasks cannot be read"):
            manager = lm_eval_tasks.TaskManager(include_path=folders, include_defaults=False)
            if not set(tasks) <= set(manager.all_tasks):
                manager = lm_eval_tasks.TaskManager(include_path=folders)
        for name in tasks:
            if name not in manager.all_tasks:
                raise BenchmarkError(f"lm_eval: there is no task {shown(name)}; `lm_eval ls tasks` lists them")
            with _in_words(f"lm_eval: task {shown(name)} cannot be loaded"):
                found += _items_of(name, manager.load([name])["tasks"], limit, seed)
    return tuple(found)


def _items_of(name: str, leaves: Mapping[str, Any], limit: int | None, seed: int) -> Iterator[Item]:
    """The items of a task, or of all tasks of a group."""
    for leaf, task in leaves.items():
        if getattr(task, "UNSAFE_CODE", False):
            raise BenchmarkError(f"lm_eval: task {shown(leaf)} runs code of the model outside a sandbox; leave it out")
        places: Sequence[int] = range(len(task.eval_docs))
        if limit is not None and limit < len(places):
            places = sorted(random.Random(derive(seed, f"benchmark items {leaf}")).sample(places, limit))
        fields = {"task": task, "asked": name, "leaf": leaf, "is_group": len(leaves) > 1}
        yield from (Item(f"{leaf}/{place}", {**fields, "place": place}) for place in places)


def ask(subject: Subject, several: Sequence[Item], *, shots: int | None, chat: bool) -> list[Answer]:
    """Has the harness put items to a model.

    Args:
        subject: the model.
        several: some of `items`.
        shots: solved examples before each; None for the task's own number.
        chat: whether prompts go through the chat template.

    Raises:
        BenchmarkError: the harness fails, or has no metric that is a mean over items.
    """
    model: Any = subject.policy.model
    tokenizer: Any = subject.tokenizer
    of: dict[str, list[Item]] = {}
    for item in several:
        of.setdefault(item.fields["leaf"], []).append(item)
    was_training = model.training
    try:
        with _quiet(), _in_words("lm_eval"), subject.autocast():
            lm = lm_eval_models.HFLM(
                pretrained=model.eval(),
                tokenizer=tokenizer,
                batch_size=subject.batch_size,
                device=str(subject.policy.device),
            )
            found = lm_eval_evaluator.simple_evaluate(
                model=lm,
                tasks=[own[0].fields["task"] for own in of.values()],
                num_fewshot=shots,
                samples={leaf: sorted(item.fields["place"] for item in own) for leaf, own in of.items()},
                bootstrap_iters=0,
                log_samples=True,
                apply_chat_template=chat,
                task_manager=lm_eval_tasks.TaskManager(include_defaults=False),
                random_seed=None,  # all three would be those of the whole process
                numpy_random_seed=None,
                torch_random_seed=None,
            )
    finally:
        model.train(was_training)
    return [answer for leaf, own in of.items() for answer in _answers(own[0], found["samples"][leaf])]


def _answers(first: Item, samples: Sequence[Mapping[str, Any]]) -> Iterator[Answer]:
    """The answers of one task; a sample for each filter of the same document is one answer."""
    task, leaf, asked = (first.fields[key] for key in ("task", "leaf", "asked"))
    means = {name for name, function in task.aggregation().items() if function.__name__ in ("mean", "nanmean")}
    scores: dict[int, dict[str, float]] = {}
    last: dict[int, Mapping[str, Any]] = {}
    for sample in samples:
        suffix = "" if sample["filter"] == "none" else f",{sample['filter']}"
        scores.setdefault(sample["doc_id"], {}).update(
            {
                f"{asked}/{metric}{suffix}": float(sample[metric])
                for metric in sample["metrics"]
                if metric in means and isinstance(sample[metric], Real)
            }
        )
        last[sample["doc_id"]] = sample
    if not any(scores.values()):
        raise BenchmarkError(f"lm_eval: task {shown(leaf)} has no metric that is a mean over items; leave it out")
    for place, sample in sorted(last.items()):
        prompt, text = _said(sample)
        cluster = leaf if first.fields["is_group"] else None
        yield Answer(f"{leaf}/{place}", scores[place], text, prompt, cluster=cluster)


def _said(sample: Mapping[str, Any]) -> tuple[str, str]:
    """What the model was given, and its response, or the likeliest of the given continuations."""
    arguments, responses = sample["arguments"], [several[0] for several in sample["resps"]]
    first = responses[0]
    if isinstance(first, str):
        return str(arguments[0][0]), first
    best = max(range(len(responses)), key=lambda n: responses[n][0] if isinstance(responses[n], tuple) else 0)
    return str(arguments[0][0]), str(arguments[best][1]).strip()


# --- local files ---


def _yaml(task: str, files: Mapping[str, str]) -> str:
    """The official definition with local data; an inline mapping would not be merged with it. JSON is YAML."""
    return json.dumps(
        {
            "include": str(_definition(task)),
            "task": task,
            "dataset_path": _loader(next(iter(files.values()))),
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {**files}},
        }
    )


def _loader(path: str) -> str | None:
    return _LOADERS.get(Path(path.removesuffix(".gz")).suffix)


def _definition(task: str) -> Path | None:
    """The file in which the harness defines a task."""
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "tasks"
    line = re.compile(rf"^[\"']?task[\"']?: *[\"']?{re.escape(task)}[\"']? *$", re.MULTILINE)
    near = sorted(folder.glob(f"{task.split('_')[0]}*/**/*.yaml"))
    for path in (*near, *sorted(folder.glob("**/*.yaml"))):
        if line.search(path.read_text(encoding="utf-8", errors="replace")):
            return path
    return None


@contextlib.contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Whatever the harness raises, in one line."""
    try:
        yield
    except AlignkitError:
        raise
    except Exception as error:  # its own, those of the data sets and of the Hub have no base in common
        raise BenchmarkError(f"{what}: {type(error).__name__}: {printable(first_line(error))}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without its log, its bars, the warnings of what it imports, and what git says of the working folder."""
    before, errors = logging.root.manager.disable, os.dup(2)
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()), open(os.devnull, "wb") as nothing, warnings.catch_warnings():
            os.dup2(nothing.fileno(), 2)
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(errors, 2)
        os.close(errors)
        logging.disable(before)
