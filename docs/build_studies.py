"""Writes what came of the studies into docs/studies.md, between two marks: python docs/build_studies.py runs/studies

The folder holds a sweep folder for each file of recipes/studies that makes claims, called as the file, and
`weights_by_task` of benchmarks/weights_by_task.py; of what is not there a line says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("studies.md")
STUDIES = ("label_noise", "diversity", "ablations", "lambda", "weights_by_task")
BEGIN, END = "<!-- results: written by docs/build_studies.py -->", "<!-- end of results -->"
PAPER = {"safety": ".70, .75, .85 (TruthfulQA)", "maths": ".22, .33, .45"}


def results(folder: Path) -> Iterator[str]:
    """Lines: the claims with their verdicts, then the numbers behind them."""
    tables = {
        name: json.loads(path.read_text()) for name in STUDIES if (path := folder / name / "table.json").is_file()
    }
    yield "| study | claim | the paper | here, of minus than | 95 % interval | seeds | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for name in STUDIES:
        yield from map(_claim_of(name), tables.get(name, {}).get("claims", []))
    missing = [name for name in STUDIES if name not in tables]
    yield from ["", f"Not run: {', '.join(missing)}."] if missing else []
    for name, table in tables.items():
        yield from ["", f"### {name}", ""]
        yield from _tasks(table["tasks"]) if "tasks" in table else _rows(table)


def _claim_of(study: str) -> Any:  # noqa: ANN401 -- a function of one claim
    def line(claim: Mapping[str, Any]) -> str:
        point = "".join(f", {key.rpartition('.')[2]} {value:g}" for key, value in claim["where"].items())
        point += "".join(f" less that at {value:g}" for value in (claim["minus"] or {}).values())
        here = f"{claim['metric']}, {claim['of']} - {claim['than']}{point}: {_number(claim['value'])}"
        interval = f"{_number(claim['low'])} to {_number(claim['high'])}"
        seeds = "none trained" if claim["seeds"] is None else claim["seeds"]
        return (
            f"| {study} | {claim['name']} | {claim['paper']} | {here} | {interval} | {seeds} | **{claim['words']}** |"
        )

    return line


def _rows(table: Mapping[str, Any]) -> Iterator[str]:
    """Means over seeds +- half of their interval, arm by arm."""
    keys = list(dict.fromkeys(key for row in table["rows"] for key in row["settings"]))
    names = [name for name in table["measures"] if any(name in row["values"] for row in table["rows"])]
    yield f"| {' | '.join(['arm', *keys, 'seeds', *names])} |"
    yield "|---" * (2 + len(keys) + len(names)) + "|"
    for row in table["rows"]:
        cells = [_mean(row["values"][name]) if name in row["values"] else "-" for name in names]
        settings = [str(row["settings"].get(key, "")) for key in keys]
        yield f"| {' | '.join([row['arm'], *settings, str(len(row['seeds'])), *cells])} |"


def _tasks(tasks: list[Mapping[str, Any]]) -> Iterator[str]:
    yield "| pairs | scale | responses | mean tokens | quartiles here | the paper's |"
    yield "|---|---|---|---|---|---|"
    for one in tasks:
        quartiles = ", ".join(f"{value:.2f}" for value in one["quartiles"])
        paper = PAPER[one["task"]] if one["scale"] == "largest 1" else "-"
        yield f"| {one['task']} | {one['scale']} | {one['responses']} | {one['tokens']:.0f} | {quartiles} | {paper} |"


def _mean(value: Mapping[str, float | None]) -> str:
    digits = 4 if abs(value["value"] or 0) < 0.05 else 3
    if value["value"] is None:
        return "-"
    half = "" if value["high"] is None else f" +-{value['high'] - value['value']:.{digits}f}"
    return f"{value['value']:.{digits}f}{half}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:+.4f}" if abs(value) < 0.01 else f"{value:+.3f}"


if __name__ == "__main__":
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text("\n".join([head + BEGIN, "", *results(Path(sys.argv[1])), "", END + rest.partition(END)[2]]))
