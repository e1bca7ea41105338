"""Progress of a training run: one live line in a terminal, a plain line now and then in a pipe or in CI."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

SHOWN = (
    ("loss", "loss {:.4f}"),
    ("rewards/margins", "margin {:+.3f}"),
    ("rewards/accuracies", "accuracy {:.3f}"),
    ("tokens/s", "{:,.0f} tokens/s"),
    ("lr", "lr {:.1e}"),
)
"""Metrics that are shown when they exist, the most wanted first: a narrow terminal cuts the end."""

FRAME_SECONDS = 0.1
"""Least time between two frames of the live line."""

BAR_FROM_WIDTH = 90
"""Columns from which there is room for a bar beside the numbers."""


class Progress:
    """Shows each step; a context manager, because the live line must be closed.

    Args:
        total: optimizer steps of the whole run.
        start: steps already done when this process began (a resumed run); the time left is judged without them.
        console: where to write; standard output by default.
        every: seconds between two plain lines.
        clock: seconds that only grow; for tests.
    """

    def __init__(
        self,
        total: int,
        *,
        start: int = 0,
        console: Console | None = None,
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._start = start
        self._console = console or Console()
        self._clock = clock
        self._interval = FRAME_SECONDS if self._console.is_interactive else every
        self._began = clock()
        self._shown: float | None = None
        # Redrawn by `update` alone: a refresh thread would take time from the training.
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_interactive else None

    def __enter__(self) -> Self:
        self._began = self._clock()
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows a finished step, unless the last one was shown only just now.

        Args:
            step: optimizer steps done, from 1.
            metrics: the loop's line of `metrics.jsonl`; speed is its `tokens` by its `seconds`, the rest is not shown.
        """
        now = self._clock()
        if self._shown is not None and now - self._shown < self._interval and step < self._total:
            return
        self._shown = now
        line = progress_line(step, self._total, metrics, self._seconds_left(step, now))
        if self._live is None:
            self._console.print(Text(line), soft_wrap=True)
        else:
            self._live.update(self._frame(step, line), refresh=True)

    def begin(self, step: int) -> None:
        """Says how many steps were done before, as soon as that is known."""
        self._start = step
        self._began = self._clock()

    def note(self, text: str) -> None:
        """Prints a line of its own, above the live one."""
        self._console.print(Text(text), soft_wrap=True)

    def _seconds_left(self, step: int, now: float) -> float | None:
        done = step - self._start
        return (now - self._began) / done * (self._total - step) if done > 0 else None

    def _frame(self, step: int, line: str) -> Table:
        frame = Table.grid(padding=(0, 1))
        cells: list[ProgressBar | Text] = [Text(line, no_wrap=True, overflow="crop")]
        if self._console.width >= BAR_FROM_WIDTH:
            cells.insert(0, ProgressBar(self._total, step, width=16))
        frame.add_row(*cells)
        return frame


def progress_line(step: int, total: int, metrics: Mapping[str, float], seconds_left: float | None) -> str:
    """`step 40/100  0:12 left  loss 0.5512  margin +0.812 ...`; a metric that is missing is left out."""
    parts = [f"step {step:>{len(str(total))}}/{total}"]
    if seconds_left is not None:
        parts.append(f"{duration(seconds_left)} left")
    known = dict(metrics)
    if "tokens" in metrics and metrics.get("seconds", 0.0) > 0:
        known["tokens/s"] = metrics["tokens"] / metrics["seconds"]
    parts += [form.format(known[name]) for name, form in SHOWN if name in known]
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """`0:07`, `12:30` or `3:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
