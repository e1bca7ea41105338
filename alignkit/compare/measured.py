"""What one folder measured, item by item: the records of a run, or of `alignkit evaluate`, ready to be paired.

A folder has several item sets: its held-out rows, its samples, and one for each benchmark. Those of one set share
prompts and clusters, whatever is measured on them.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from alignkit.benchmarks.lines import FOLDER
from alignkit.errors import CompareError, shown
from alignkit.evaluation.base import Better, Measure
from alignkit.evaluation.settings import FILES, LooksAt
from alignkit.evaluation.summary import Mean, Record, Records, Summary
from alignkit.intervals import averaged
from alignkit.records.fingerprints import prompt_hash

SET_NAMES: Final[Mapping[LooksAt, str]] = {"rows": "held-out rows", "samples": "sampled responses"}
"""What their item sets are called; no benchmark has such a name."""

_NO_PROMPT = prompt_hash("")
"""What rows without a prompt have in common is nothing."""


@dataclass(frozen=True)
class Numbers:
    """One measure of one folder.

    Attributes:
        label: what a report calls it.
        is_reported: whether a run's report has it; the others are compared where they are asked for.
        better: which direction is better, if that can be said.
        digits: after the point.
        summary: how the number comes of records.
        records: item -> what was measured of it; all that have a part in the number.
    """

    label: str
    is_reported: bool
    better: Better | None
    digits: int
    summary: Summary
    records: Mapping[str, Record]

    def over(self, items: Sequence[str]) -> list[float]:
        """What each of these items adds to the number over them, which is the mean; NaN where they give none."""
        parts = self.summary.parts([self.records[item] for item in items])
        return [math.nan if part is None else float(part) for part in parts or [None] * len(items)]


@dataclass(frozen=True)
class ItemSet:
    """Items that were measured together.

    Attributes:
        name: what messages call it.
        prompts: item -> hash of its prompt, or hashes where its samples have several; None where an older version
            recorded none.
        clusters: item -> what it shares with others.
        numbers: measure -> its numbers.
    """

    name: str
    prompts: Mapping[str, str | None]
    clusters: Mapping[str, str]
    numbers: Mapping[str, Numbers] = field(default_factory=dict)


def item_sets(folder: Path, moment: str, measures: Sequence[Measure]) -> list[ItemSet]:
    """All that the folder measured at `moment`.

    Raises:
        CompareError: a file is damaged.
    """
    records = {looks_at: _records(folder / FILES[looks_at], moment) for looks_at in FILES}
    known = {str(one["row"]): prompt_hash(str(one["prompt"])) for one in records["samples"] if "prompt" in one}
    found = [
        _held_out(folder, looks_at, records[looks_at], known, [one for one in measures if one.looks_at == looks_at])
        for looks_at in FILES
    ]
    found += [_benchmark(path, moment) for path in sorted((folder / FOLDER).glob("*.jsonl"))]
    return [one for one in found if one.numbers]


# --- held-out rows and samples ---


def _records(path: Path, moment: str) -> Records:
    """Those of a moment, null as NaN, in the order of the rows."""
    found: dict[int, Record] = {}
    for place, line in _lines(path):
        row = line.get("row")
        if not isinstance(row, int) or (line.get("moment") == moment and row in found):
            raise CompareError(f"{place}: 'row' must be a number that no other line has, got {shown(row)}; {_ADVICE}")
        if line.get("moment") == moment:
            found[row] = {key: math.nan if value is None else value for key, value in line.items()}
    return [found[row] for row in sorted(found)]


def _held_out(
    folder: Path, looks_at: LooksAt, records: Records, known: Mapping[str, str], measures: Sequence[Measure]
) -> ItemSet:
    prompts = {str(one["row"]): one.get("prompt_hash", known.get(str(one["row"]))) for one in records}
    clusters = {row: row if hash in (None, _NO_PROMPT) else str(hash) for row, hash in prompts.items()}
    numbers = {}
    for value in (value for measure in measures for value in measure.values):
        try:
            parts = value.summary.parts(records) or []
        except (LookupError, TypeError, ValueError, ArithmeticError):
            raise CompareError(f"{folder / FILES[looks_at]}: '{value.name}' cannot be read of it; {_ADVICE}") from None
        # A number without parts has none to be paired.
        own = {str(record["row"]): record for record, part in zip(records, parts, strict=False) if part is not None}
        if own:
            label, is_reported = value.label or value.name, value.label is not None
            numbers[value.name] = Numbers(label, is_reported, value.better, value.digits, value.summary, own)
    return ItemSet(SET_NAMES[looks_at], prompts, clusters, numbers)


# --- benchmarks ---


def _benchmark(path: Path, moment: str) -> ItemSet:
    """Several samples of an item are averaged first."""
    prompts: dict[str, set[str]] = defaultdict(set)
    clusters: dict[str, str] = {}
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for place, line in _lines(path):
        if line.get("moment") != moment:
            continue
        item, hash, cluster, of_metrics = _item(place, line)
        prompts[item].add(hash)
        clusters[item] = cluster
        for metric, score in of_metrics.items():
            scores[metric][item].append(score)
    numbers = {
        f"{path.stem}/{metric}": _scores(f"{path.stem}/{metric}", averaged(of_items))
        for metric, of_items in scores.items()
    }
    asked = {item: " ".join(sorted(hashes)) for item, hashes in prompts.items()}
    return ItemSet(path.stem, asked, clusters, numbers)


def _scores(label: str, scores: Mapping[str, float]) -> Numbers:
    return Numbers(label, True, "higher", 3, Mean("score"), {item: {"score": score} for item, score in scores.items()})


def _item(place: str, line: Record) -> tuple[str, str, str, dict[str, float]]:
    item, hash, scores = line.get("item"), line.get("prompt_hash"), line.get("scores")
    if not (isinstance(item, str) and isinstance(hash, str) and isinstance(scores, dict)):
        raise CompareError(f"{place}: needs 'item' and 'prompt_hash' as text and 'scores' as a mapping; {_ADVICE}")
    read = {metric: math.nan if score is None else score for metric, score in scores.items()}
    if not all(isinstance(score, int | float) for score in read.values()):
        raise CompareError(f"{place}: 'scores' must be numbers, got {shown(scores)}; {_ADVICE}")
    return item, hash, str(line.get("cluster", item)), {metric: float(score) for metric, score in read.items()}


# --- files ---

_ADVICE = "restore the file or measure again"


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`file:line` and the object of each line; nothing where there is no file."""
    if not path.exists():
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CompareError(f"{path}: cannot be read: {error}; {_ADVICE}") from None
    for number, content in enumerate(text.split("\n"), 1):  # other ends of lines may stand in a response
        if content:
            yield f"{path}:{number}", _object(f"{path}:{number}", content)


def _object(place: str, content: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CompareError(f"{place}: is no JSON object; {_ADVICE}")
    return found
