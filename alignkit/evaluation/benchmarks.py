"""Benchmarks put to a policy: items shared among the processes, answers gathered as lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alignkit.benchmarks.base import Benchmark
from alignkit.benchmarks.items import Answer, Item
from alignkit.benchmarks.lines import Lines, line_of
from alignkit.benchmarks.subject import Subject
from alignkit.errors import BenchmarkError, shown
from alignkit.lazy import accelerate, torch
from alignkit.progress.display import counted

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Asked:
    """What came of a benchmark.

    Attributes:
        lines: one for each answer, in the order of the items.
        first_prompt: what the model was given of the first item, as text.
    """

    lines: Lines = field(default_factory=list)
    first_prompt: str = ""


def put(benchmark: Benchmark, subject: Subject, accelerator: Accelerator) -> Asked:
    """Puts all items of a benchmark to a model; on all processes together, which all get the whole.

    Raises:
        BenchmarkError: an item has no answer, or an answer no item.
    """
    items = benchmark.items()
    mine = range(len(items))[accelerator.process_index :: accelerator.num_processes]
    size = benchmark.together or subject.batch_size
    answers: list[tuple[int, list[Answer]]] = []
    with counted(f"evaluation: {benchmark.title}", len(mine)) as advance, torch.no_grad():
        for start in range(0, len(mine), size):
            places = mine[start : start + size]
            answers += _by_item(benchmark, places, items, subject)
            advance(len(places))
    gathered: list[tuple[int, list[Answer]]] = accelerate.utils.gather_object(answers)
    ordered = [answer for _, several in sorted(gathered, key=lambda one: one[0]) for answer in several]
    lines = [line_of(benchmark.title, answer) for answer in ordered]
    return Asked(lines, ordered[0].prompt if ordered else "")


def _by_item(
    benchmark: Benchmark, places: Sequence[int], items: Sequence[Item], subject: Subject
) -> list[tuple[int, list[Answer]]]:
    """Place of each item -> its answers; those to a part of an item stand with it."""
    chosen = {items[place].name: place for place in places}
    found: dict[int, list[Answer]] = {place: [] for place in places}
    for answer in benchmark.ask(subject, [items[place] for place in places]):
        place: Any = chosen.get(answer.item, chosen.get(answer.item.rpartition("/")[0]))
        if place is None:
            raise BenchmarkError(f"benchmark '{benchmark.title}' answers {shown(answer.item, 60)}, which was not asked")
        found[place].append(answer)
    missing = next((items[place].name for place, several in found.items() if not several), None)
    if missing is not None:
        raise BenchmarkError(f"benchmark '{benchmark.title}' has no answer to item {shown(missing, 60)}")
    return list(found.items())
