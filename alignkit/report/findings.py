"""What the checks of a recipe's data found, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import ROUNDED
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alignkit.doctor.base import Finding
from alignkit.doctor.diagnosis import Diagnosis
from alignkit.errors import LINE_LENGTH, printable

_STYLES = {"error": "bold red", "warn": "yellow", "report": "cyan"}


def show_findings(console: Console, recipe: str, diagnosis: Diagnosis, pair: Text | None) -> None:
    """A table of all findings, what was looked at, and a row as the model sees it."""
    used, read = diagnosis.used, diagnosis.read
    head = f"{printable(recipe)}: {used:,} of {read:,} rows used, {diagnosis.held_out:,} of them held out"
    if diagnosis.tokenised < used:
        head += f"; of so many, the tokens of {diagnosis.tokenised:,} were looked at, evenly spaced"
    console.print(Text(head), soft_wrap=True)
    if diagnosis.findings:
        console.print(_table(diagnosis))
    counts = diagnosis.counts
    said = ", ".join(f"{number} {level}" for level, number in counts.items() if number) or "nothing found"
    unasked = f"; with --model also {', '.join(diagnosis.not_run)}" if diagnosis.not_run else ""
    console.print(Text(f"{said}{unasked}"))
    if pair is not None:
        console.print(Text("\nA row as the model sees it; the prompt is masked, only what follows | is trained on:"))
        console.print(pair)


def _table(diagnosis: Diagnosis) -> Table:
    table = Table(box=ROUNDED, show_lines=True)
    table.add_column("level", no_wrap=True)
    table.add_column("finding", overflow="fold")
    table.add_column("count", justify="right")
    for finding in diagnosis.findings:
        count = Text(f"{finding.count:,} of {finding.total:,}")
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), _cell(finding), count)
    return table


def _cell(finding: Finding) -> Text:
    """Name, reason, places and key, all on lines of ours."""
    cell = Text(printable(f"{finding.check}: {finding.subject}"), style="bold")
    cell.append(f"\n{printable(finding.sentence, LINE_LENGTH)}", style="not bold")
    cell.append("\n")
    if finding.places:
        cell.append("rows ", style="not bold dim").append(f"{_listed(finding.places)}; ", style="not bold")
    cell.append("key ", style="not bold dim").append(printable(finding.key), style="not bold")
    return cell


def _listed(places: Sequence[str]) -> str:
    """The places; of those in one file all but the first without its name."""
    listed, before = [], None
    for place in places:
        file, _, line = place.rpartition(":")
        listed.append(printable(f":{line}" if file and file == before else place))
        before = file
    return ", ".join(listed)
