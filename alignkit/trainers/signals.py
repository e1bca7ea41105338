"""SIGTERM and the first SIGINT ask the loop to stop at the next step boundary instead of killing it."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class StopRequest:
    """Remembers the first stop signal while it is entered; the previous handlers come back on exit.

    A second SIGINT acts as it did before, so an impatient user can always leave. A signal that is ignored stays so: a
    shell starts background jobs deaf to SIGINT. Off the main thread Python allows no handlers and nothing is ever
    requested.

    Attributes:
        signal: number of the signal received, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, self._previous[signal.SIGINT])
