"""Items in files, a line each, and the numbers that come of them with their standard errors.

Several responses to an item are averaged first; items of one cluster are no independent witnesses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alignkit import intervals
from alignkit.benchmarks.items import Answer
from alignkit.errors import BenchmarkError, printable, shown
from alignkit.intervals import Interval
from alignkit.records import files
from alignkit.records.files import one_line, write_text
from alignkit.records.fingerprints import prompt_hash

FOLDER = "eval"
"""Where the files of a run or an evaluation are."""

Line = Mapping[str, Any]
"""`item`, `sample`, `cluster`, `prompt_hash`, `scores`, `text`; in a file with its `moment` before."""

Lines = Sequence[Line]


def line_of(title: str, answer: Answer) -> Line:
    """An answer as its line.

    Raises:
        BenchmarkError: a score is no finite number.
    """
    for metric, score in answer.scores.items():
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            what = f"{shown(score, 60)} as '{printable(metric)}' of item {shown(answer.item, 60)}"
            raise BenchmarkError(f"benchmark '{title}' gives {what}; expected a finite number")
    return {
        "item": answer.item,
        "sample": answer.sample,
        "cluster": answer.item if answer.cluster is None else answer.cluster,
        "prompt_hash": prompt_hash(answer.prompt),
        "scores": {metric: float(score) for metric, score in answer.scores.items()},
        "text": answer.text,
    }


# --- numbers ---


def summarised(title: str, lines: Lines) -> dict[str, Interval]:
    """`TITLE/METRIC` -> its mean over items."""
    return {
        f"{title}/{metric}": intervals.mean([*items.values()], _clusters(lines, items))
        for metric, items in _by_metric(lines).items()
    }


def changed(title: str, before: Lines, after: Lines) -> dict[str, Interval]:
    """`TITLE/METRIC` -> the mean of after - before, of the same items; nothing where they were asked otherwise."""
    if _asked(before) != _asked(after):
        return {}
    old, new = _by_metric(before), _by_metric(after)
    return {
        f"{title}/{metric}": intervals.paired(
            [*items.values()], [old[metric][item] for item in items], _clusters(after, items)
        )
        for metric, items in new.items()
        if metric in old and old[metric].keys() == items.keys()
    }


def flat(found: Mapping[str, Interval]) -> dict[str, float]:
    """As in `eval.json`: the value under its name, its standard error under `NAME_se`."""
    return {key: value for name, one in found.items() for key, value in ((name, one.value), (f"{name}_se", one.se))}


def _by_metric(lines: Lines) -> dict[str, dict[str, float]]:
    """Metric -> item -> mean over its samples."""
    several: dict[str, dict[str, list[float]]] = {}
    for line in lines:
        for metric, score in line["scores"].items():
            several.setdefault(metric, {}).setdefault(line["item"], []).append(score)
    return {
        metric: {item: sum(found) / len(found) for item, found in items.items()} for metric, items in several.items()
    }


def _clusters(lines: Lines, items: Mapping[str, float]) -> list[str]:
    of = {line["item"]: line["cluster"] for line in lines}
    return [of[item] for item in items]


def _asked(lines: Lines) -> dict[tuple[str, int], str]:
    return {(line["item"], line["sample"]): line["prompt_hash"] for line in lines}


# --- files ---


def write_lines(folder: Path, title: str, moment: str, lines: Lines) -> None:
    """Puts lines into a benchmark's file, in the place of those of the same moment.

    Raises:
        RunFolderError: it cannot be written.
    """
    path = folder / FOLDER / f"{title}.jsonl"
    with one_line(path):
        path.parent.mkdir(exist_ok=True)
    kept = [] if moment == "before" else [line for line in _stored(path) if line["moment"] != moment]
    new = [{"moment": moment, **line} for line in lines]
    write_text(path, "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in [*kept, *new]))


def read_lines(folder: Path, title: str, moment: str) -> Lines:
    """A benchmark's lines of one moment; none where the file is missing or damaged."""
    return [
        {key: value for key, value in line.items() if key != "moment"}
        for line in _stored(folder / FOLDER / f"{title}.jsonl")
        if line["moment"] == moment
    ]


def _stored(path: Path) -> list[dict[str, Any]]:
    try:
        lines = files.read_lines(path)
    except (OSError, ValueError):
        return []
    return lines if all(map(_is_ours, lines)) else []


def _is_ours(line: object) -> bool:
    kinds = {"moment": str, "item": str, "sample": int, "cluster": str, "prompt_hash": str, "scores": dict, "text": str}
    return isinstance(line, dict) and all(isinstance(line.get(key), kind) for key, kind in kinds.items())
