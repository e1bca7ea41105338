"""What benchmarks promise, of the built-in world's model and their first items."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from alignkit.benchmarks.base import Benchmark
from alignkit.benchmarks.items import Answer, Item
from alignkit.benchmarks.subject import Subject
from alignkit.conformance.stage import stage
from alignkit.lazy import torch
from alignkit.registry import dump_component
from alignkit.rewards.permission import granted, granting

MOST = 3
"""Items that are asked."""


def _asked(benchmark: Benchmark, items: Sequence[Item]) -> list[Answer]:
    with torch.no_grad():
        return [*benchmark.ask(Subject(stage("pairs").policy), items)]


def _has_items(benchmark: Benchmark) -> Iterator[str]:
    """has items with names that differ, the same each time"""
    with granting("sandbox" if benchmark.executes_code and granted() == "none" else granted()):
        benchmark.check()
    names = [item.name for item in benchmark.items()]
    if not names:
        yield "items() gives none"
    if len(set(names)) < len(names):
        yield "two items have the same name"
    again = type(benchmark).model_validate(dump_component(benchmark))
    if [item.name for item in again.items()] != names:
        yield "items() gives others when it is built again"


def _answers_each(benchmark: Benchmark) -> Iterator[str]:
    """answers each item with finite scores, its text and what the model was given"""
    if benchmark.executes_code:  # nobody has allowed it
        return
    items = benchmark.items()[:MOST]
    answers = _asked(benchmark, items)
    names = {item.name for item in items}
    if missing := names - {name for answer in answers for name in (answer.item, answer.item.rpartition("/")[0])}:
        yield f"has no answer to {', '.join(sorted(missing))}"
    for answer in answers:
        if answer.item not in names and answer.item.rpartition("/")[0] not in names:
            yield f"answers '{answer.item}', which was not asked"
        if not all(isinstance(score, float) and math.isfinite(score) for score in answer.scores.values()):
            yield f"gives item '{answer.item}' scores that are no finite floats: {dict(answer.scores)}"
        if not (isinstance(answer.text, str) and isinstance(answer.prompt, str) and answer.prompt):
            yield f"gives item '{answer.item}' no text, or not what the model was given"


def _keeps_items_apart(benchmark: Benchmark) -> Iterator[str]:
    """answers an item the same alone, among others and again"""
    if benchmark.executes_code:
        return
    items = benchmark.items()[:MOST]
    together = _asked(benchmark, items)
    for way, found in (
        ("when it is asked again", _asked(benchmark, items)),
        ("alone", [answer for item in items for answer in _asked(benchmark, [item])]),
    ):
        if len(found) != len(together):
            yield f"gives {len(found)} answers {way}, not {len(together)}"
        for one, other in zip(found, together, strict=False):
            differ = [
                name for name, score in other.scores.items() if abs(one.scores.get(name, math.inf) - score) > 1e-4
            ]
            if differ or one.text != other.text:
                yield f"says another thing of item '{other.item}' {way}: {', '.join(differ) or 'its text'}"


CHECKS = (_has_items, _answers_each, _keeps_items_apart)
