"""Sampled responses for a terminal: a prompt, and what each model says to it, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.box import ROUNDED
from rich.table import Table
from rich.text import Text

from alignkit.errors import printable
from alignkit.report.wrapping import cut_start
from alignkit.use.sampling import Sampled

CHARACTERS = 480
"""Most characters shown of a prompt, its end."""


def tables(samples: Sequence[Sampled], name: str) -> Iterator[Text | Table]:
    """Each prompt, and a table with a row for each response; a second column where there is a reference.

    Args:
        samples: those of one prompt one after the other.
        name: what the sampled model is called.
    """
    for _, group in groupby(samples, key=lambda one: one.where):
        responses = list(group)
        first = responses[0]
        yield Text(f"{printable(first.where)}: ", style="bold").append(
            _inert(cut_start(first.prompt.strip(), CHARACTERS)), style="not bold"
        )
        columns = [name] if first.reference is None else [name, "before training"]
        table = Table(box=ROUNDED, show_lines=True)
        for column in columns:
            table.add_column(Text(printable(column)), overflow="fold")
        for one in responses:
            said = [one.response] if one.reference is None else [one.response, one.reference]
            table.add_row(*(Text(_inert(text.strip()) or "(nothing)") for text in said))
        yield table


def _inert(text: str) -> str:
    """The text in its lines, with every other control character written out."""
    return "\n".join(printable(line, limit=None) for line in text.split("\n"))
