"""Where progress is shown: live lines at the bottom of a terminal, a plain line now and then elsewhere.

Elsewhere is a pipe, CI, or a notebook: rich's live lines need ipywidgets there, and show nothing without.

Work deep inside (a pass over the data, a draw of anchors) says how far it is with `counted`, wherever it was called
from; it is shown when a run has named a display with `showing`, and not otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from alignkit.errors import printable

FRAME_SECONDS = 0.1
"""Least time between two frames of a live line."""

BAR_FROM_WIDTH = 90
"""Columns from which there is room for a bar beside the numbers."""


class Display:
    """The lines in use, the outermost first.

    Args:
        console: where to write; standard output by default.
        every: seconds between two plain lines.
        clock: seconds that only grow; for tests.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console or Console()
        self.clock = clock
        self.is_live = self.console.is_interactive and not self.console.is_jupyter
        self.interval = FRAME_SECONDS if self.is_live else every
        self._lines: list[Line] = []
        self._live: Live | None = None

    def open(self) -> Line:
        """A new line below the others; close it."""
        line = Line(self)
        self._lines.append(line)
        if self.is_live and self._live is None:
            # Redrawn by the work itself: a refresh thread would take time from the training.
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
        return line

    def close(self, line: Line, *, stays: bool) -> None:
        """Takes the line away, or leaves it standing if it is the last one and `stays`."""
        if self._lines == [line]:
            self._stop(stays=stays)
        if line in self._lines:
            self._lines.remove(line)
            self.redraw()

    def shut(self) -> None:
        """Closes what an error left open: a generator that shows its work ends only when nobody holds it any more."""
        self._stop(stays=False)
        self._lines = []

    def _stop(self, *, stays: bool) -> None:
        if self._live is not None:
            self._live.transient = not stays
            self._live.stop()
            self._live = None

    def redraw(self) -> None:
        """Draws all live lines as they are now."""
        if self._live is not None:
            self._live.update(Group(*(line.frame for line in self._lines if line.frame is not None)), refresh=True)


class Line:
    """One line of a display."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self.frame: Table | None = None
        self.last_shown: float | None = None

    @property
    def is_due(self) -> bool:
        """Whether it was not shown only just now."""
        return self.last_shown is None or self._display.clock() - self.last_shown >= self._display.interval

    def show(self, parts: list[str], done: int, total: int) -> None:
        """Draws or prints the parts, in a terminal as many of them as fit."""
        display = self._display
        self.last_shown = display.clock()
        if not display.is_live:
            display.console.print(Text("  ".join(parts)), soft_wrap=True)
            return
        has_bar = display.console.width >= BAR_FROM_WIDTH
        text = Text(fitting(parts, display.console.width - 17 * has_bar), no_wrap=True, overflow="crop")
        self.frame = Table.grid(padding=(0, 1))
        cells: list[ProgressBar | Text] = [ProgressBar(total, done, width=16), text] if has_bar else [text]
        self.frame.add_row(*cells)
        display.redraw()


def fitting(parts: list[str], width: int) -> str:
    """The parts that fit beside each other, the first ones first; a part is shown whole or not at all."""
    line = parts[0]
    for part in parts[1:]:
        if len(line) + 2 + len(part) <= width:
            line += f"  {part}"
    return line


def duration(seconds: float) -> str:
    """`0:07`, `12:30` or `3:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


_current: ContextVar[Display | None] = ContextVar("display", default=None)


@contextmanager
def showing(display: Display) -> Iterator[None]:
    """Makes `counted` show here."""
    token = _current.set(display)
    try:
        yield
    finally:
        _current.reset(token)
        if _current.get() is not display:
            display.shut()


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows work that is counted, with the time that is left; gone when it is done, and no line for what is short.

    Args:
        what: the work, such as `reference log-probs`.
        total: how much there is.

    Yields:
        What is told how much more was done.
    """
    display = _current.get()
    if display is None or not total:
        yield lambda more: None
        return
    work = _Counted(display, what, total)
    try:
        yield work.advance
    finally:
        work.close()


class _Counted:
    def __init__(self, display: Display, what: str, total: int) -> None:
        self._display, self._what, self._total = display, what, total
        self._done = 0
        self._opened = display.clock()
        self._first: tuple[float, int] | None = None
        self._line = display.open()
        if display.is_live:
            self._show()
        else:
            self._line.last_shown = self._opened  # a pipe hears nothing of what takes less than the interval
        self._was_told = False

    def advance(self, more: int) -> None:
        self._done += more
        # What comes first may have been prepared for long, and rows come in batches, so time counts from here.
        self._first = self._first or (self._display.clock(), self._done)
        if self._line.is_due:
            self._was_told = True
            self._show()

    def _show(self) -> None:
        parts = [f"{self._what} {self._done:,}/{self._total:,}"]
        left = self._seconds_left()
        self._line.show(parts if left is None else [*parts, f"{duration(left)} left"], self._done, self._total)

    def _seconds_left(self) -> float | None:
        if self._first is None:
            return None
        seconds, done = self._display.clock() - self._first[0], self._done - self._first[1]
        return seconds / done * (self._total - self._done) if seconds >= FRAME_SECONDS and done else None

    def close(self) -> None:
        if self._was_told and not self._display.is_live:
            seconds = self._display.clock() - self._opened
            self._line.show([f"{self._what} {self._done:,}/{self._total:,}", f"took {duration(seconds)}"], 1, 1)
        self._display.close(self._line, stays=False)


def note(console: Console, text: str) -> None:
    """One line for the user."""
    console.print(Text(printable(text, limit=None)), soft_wrap=True)
