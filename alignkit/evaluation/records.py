"""What single rows and samples gave, in the run folder: `eval_rows.jsonl` and `samples.jsonl`, a line each.

A resumed run finds there what was measured before training, so that its changes can be paired by row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from alignkit.evaluation.base import Measure
from alignkit.evaluation.evaluate import Measured
from alignkit.evaluation.settings import FILES
from alignkit.evaluation.summary import Record, Records
from alignkit.records.files import write_text

ROWS, SAMPLES = FILES["rows"], FILES["samples"]

Moment = Literal["before", "after"]


def write_records(folder: Path, moment: Moment, measured: Measured) -> None:
    """Adds what was measured at `moment`, in the place of what an interrupted run left of it.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    for name, records in ((ROWS, measured.rows), (SAMPLES, measured.samples)):
        kept = [] if moment == "before" else [line for line in _lines(folder / name) if line["moment"] != moment]
        new = [{"moment": moment, **_without_nan(record)} for record in records]
        lines = [json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in [*kept, *new]]
        if lines:
            write_text(folder / name, "".join(lines))


def read_records(folder: Path, moment: Moment, summary: Mapping[str, float], measures: Sequence[Measure]) -> Measured:
    """What these measures found at `moment`.

    Nothing where the files are missing or damaged, which shows in that their rows do not give the `summary` that
    `eval.json` has of them.
    """
    measured = Measured(_of_moment(folder / ROWS, moment), _of_moment(folder / SAMPLES, moment), measures)
    try:
        found = measured.summary
    except (LookupError, TypeError, ValueError, ArithmeticError):
        found = {}
    is_whole = found.keys() == summary.keys() and all(
        value == summary[name] or (math.isnan(value) and math.isnan(summary[name])) for name, value in found.items()
    )
    return measured if is_whole else Measured([], [], measures)


def _of_moment(path: Path, moment: Moment) -> Records:
    chosen = [line for line in _lines(path) if line["moment"] == moment]
    return [
        {key: math.nan if value is None else value for key, value in line.items() if key != "moment"} for line in chosen
    ]


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.split("\n") if line]  # other ends of lines may stand in a response
    except (OSError, ValueError):
        return []
    is_ours = all(isinstance(line, dict) and "moment" in line and isinstance(line.get("row"), int) for line in lines)
    return lines if is_ours else []


def _without_nan(record: Record) -> dict[str, Any]:
    """JSON knows no NaN or infinity: they become null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }
