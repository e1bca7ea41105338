"""What a run says before its first step: what is trained, on what, how, and where it is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from alignkit.data.rows import DataReport

_LEFT_OUT = {
    "opened_otherwise": "rows whose generation the template opens with more than their prompt",
    "earlier_turns_untrained": "rows whose earlier assistant turns are not trained",
    "truncated_prompt": "prompts cut",
    "truncated_response": "responses cut",
}
"""Counts of a `DataReport` of what is read and does not reach the loss -> words."""


@dataclass(frozen=True)
class Batch:
    """How an optimizer step's examples are split.

    Attributes:
        size: effective batch; examples per optimizer step.
        micro: most examples in one forward pass of one process.
        accumulation: forward passes per optimizer step of one process.
        processes: processes that train together.
    """

    size: int
    micro: int
    accumulation: int
    processes: int

    def __str__(self) -> str:
        parts = f"{self.micro} x {_counted(self.accumulation, 'pass', 'passes')} x "
        parts += _counted(self.processes, "process", "processes")
        # The last pass of a step is smaller when the micro-batch does not divide the batch.
        is_exact = self.micro * self.accumulation * self.processes == self.size
        return f"{_counted(self.size, 'example', 'examples')} a step {'=' if is_exact else '<'} {parts}"


def start_banner(
    *,
    recipe: str,
    model: str,
    parameters: int,
    trainable: int,
    reports: Sequence[DataReport],
    batch: Batch,
    steps: int,
    folder: str,
) -> Table:
    """The facts of a run, one per row, named on the left.

    Args:
        recipe: the recipe's path, as the user gave it.
        model: the policy, as the recipe names it.
        parameters: all parameters of the policy, adapter included.
        trainable: those that are trained.
        reports: what became of each data source.
        batch: the effective batch and its parts.
        steps: optimizer steps.
        folder: the run folder.
    """
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    trained = "all trained" if trainable == parameters else f"{trainable:,} trained ({trainable / parameters:.2%})"
    rows = [("recipe", recipe), ("model", f"{model}: {parameters:,} parameters, {trained}")]
    # A second source, if any, holds the held-out rows.
    rows += list(zip(("data", "eval"), map(data_line, reports), strict=False))
    rows += [("batch", str(batch)), ("steps", f"{steps:,}"), ("folder", folder)]
    for name, value in rows:
        table.add_row(name, Text(value))  # as Text, or a path such as runs/[x] would be read as markup
    return table


def data_line(report: DataReport) -> str:
    """One source in words: rows used, held out, dropped with reasons, format, and what is left out of the rows."""
    line = f"{report.source}: {report.used:,} of {_counted(report.rows, 'row', 'rows')} used"
    if held_out := report.counts.get("held_out"):
        line += f", {held_out:,} of them held out"
    if report.dropped:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(report.dropped.items()))
        line += f", {sum(report.dropped.values()):,} dropped ({reasons})"
    left_out = [f"{what}: {number:,}" for name, what in _LEFT_OUT.items() if (number := report.counts.get(name))]
    if report.unused_columns:
        left_out.append(f"columns not used: {', '.join(report.unused_columns)}")
    return "; ".join([line, report.format, *left_out])


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
