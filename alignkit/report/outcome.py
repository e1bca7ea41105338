"""What a finished run shows: the table, a verdict, what its numbers mean, samples, and where its token weights lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from alignkit.report.reading import Numbers, reading
from alignkit.report.samples import sample_lines
from alignkit.report.table import before_after_table, verdict
from alignkit.report.wrapping import wrapped

if TYPE_CHECKING:
    from alignkit.evaluation.evaluate import Measured

Values = Mapping[str, float]


def show_outcome(
    console: Console, log: Path, summaries: tuple[Values, Values, Values], before: Measured, after: Measured
) -> None:
    """Prints all but the token weights.

    Args:
        console: where to.
        log: `metrics.jsonl`.
        summaries: `before`, `after` and `change` of `eval.json`.
        before: single rows and samples before training, as far as they are known.
        after: those after it.
    """
    console.print(before_after_table(after.measures, *summaries, width=console.width))
    console.print(Text(wrapped(verdict(*summaries), console.width)), soft_wrap=True)
    for sentence in reading(Numbers(read_log(log), *summaries)):
        console.print(Text(wrapped(f"- {sentence}", console.width, "  ")), soft_wrap=True)
    for line in sample_lines(before.samples, after.samples, console.width):
        console.print(line, soft_wrap=True)


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of `metrics.jsonl` without their nulls; as many as can be read."""
    lines: list[dict[str, float]] = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return lines
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            break
        lines.append({key: value for key, value in values.items() if isinstance(value, (int, float))})
    return lines
