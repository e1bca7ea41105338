"""What single rows, samples and tokens gave, in the run folder: `eval_rows.jsonl`, `samples.jsonl`, `token_rows.jsonl`.

A resumed run finds there what was measured before training, so that its changes can be paired by row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from alignkit.benchmarks.lines import read_lines, write_lines
from alignkit.evaluation.base import Measure
from alignkit.evaluation.evaluate import Measured
from alignkit.evaluation.settings import FILES
from alignkit.evaluation.summary import Record, Records
from alignkit.records import files
from alignkit.records.files import write_text

ROWS, SAMPLES, TOKENS = FILES["rows"], FILES["samples"], "token_rows.jsonl"

Moment = Literal["before", "after", "alone"]


def write_records(folder: Path, moment: Moment, measured: Measured) -> None:
    """Adds what was measured at `moment`, in the place of what an interrupted run left of it.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    for name, records in ((ROWS, measured.rows), (SAMPLES, measured.samples), (TOKENS, measured.tokens)):
        kept = [] if moment == "before" else [line for line in _lines(folder / name) if line["moment"] != moment]
        new = [{"moment": moment, **_without_nan(record)} for record in records]
        lines = [json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in [*kept, *new]]
        if lines:
            write_text(folder / name, "".join(lines))
    for title, answers in measured.items.items():
        write_lines(folder, title, moment, answers)


def read_records(
    folder: Path,
    moment: Moment,
    summary: Mapping[str, float],
    measures: Sequence[Measure],
    benchmarks: Sequence[str] = (),
) -> Measured:
    """What these measures, and the benchmarks of these titles, found at `moment`.

    Nothing where the files are missing or damaged, which shows in that their rows do not give the `summary` that
    `eval.json` has of them.
    """
    items = {title: read_lines(folder, title, moment) for title in benchmarks}
    measured = Measured(_of_moment(folder / ROWS, moment), _of_moment(folder / SAMPLES, moment), measures, items)
    try:
        found = measured.summary
    except (LookupError, TypeError, ValueError, ArithmeticError):
        found = {}
    is_whole = found.keys() == summary.keys() and all(
        value == summary[name] or (math.isnan(value) and math.isnan(summary[name])) for name, value in found.items()
    )
    return measured if is_whole else Measured([], [], measures)


def read_tokens(folder: Path) -> dict[Moment, Records]:
    """What was recorded of the tokens of held-out rows at each moment; nothing of what is missing or damaged."""
    return {moment: _of_moment(folder / TOKENS, moment) for moment in get_args(Moment)}


def read_samples(folder: Path) -> dict[Moment, Records]:
    """The sampled responses of each moment; nothing of what is missing or damaged."""
    return {moment: _of_moment(folder / SAMPLES, moment) for moment in get_args(Moment)}


def _of_moment(path: Path, moment: Moment) -> Records:
    chosen = [line for line in _lines(path) if line["moment"] == moment]
    return [
        {key: math.nan if value is None else value for key, value in line.items() if key != "moment"} for line in chosen
    ]


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        lines = files.read_lines(path)
    except (OSError, ValueError):
        return []
    is_ours = all(isinstance(line, dict) and "moment" in line and isinstance(line.get("row"), int) for line in lines)
    return lines if is_ours else []


def _without_nan(record: Record) -> dict[str, Any]:
    """JSON knows no NaN or infinity: they become null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }
