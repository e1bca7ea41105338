"""SIGTERM, SIGINT and SIGUSR1: in the loop a request to stop at the next step boundary, elsewhere the end of the run at
once. Schedulers send SIGUSR1 when a job's time is nearly over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGUSR1") if name in signal.Signals.__members__
)  # Windows has no SIGUSR1


class Interrupted(SystemExit):
    """A signal ended the run between two things that are saved; left uncaught, the exit status is 128 + signal.

    Attributes:
        signal: its number.
        message: what the user should read.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = number
        self.message = f"stopped by {signal.Signals(number).name}"


class _Handlers:
    """Handles the signals while it is entered; the previous handlers come back on exit.

    A signal that is ignored stays so: a shell starts background jobs deaf to SIGINT. Off the main thread Python allows
    no handlers and nothing is ever handled.
    """

    def __init__(self, receive: Callable[[int, FrameType | None], None]) -> None:
        self._receive = receive
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self.previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)


class StopRequest(_Handlers):
    """Remembers the first stop signal while it is entered. A second SIGINT acts as it did before, so an impatient user
    can always leave.

    Attributes:
        signal: number of the signal received, or 0.
    """

    def __init__(self) -> None:
        super().__init__(self._remember)
        self.signal = 0

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, self.previous[signal.SIGINT])


class Interruptible(_Handlers):
    """Raises `Interrupted` wherever the program stands when the first signal arrives; what is saved is saved whole."""

    def __init__(self) -> None:
        super().__init__(self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        for other, handler in self.previous.items():  # the next one finds the way out that was there before
            # A scheduler's warning may come twice, from itself and through the launcher, and nobody means it so.
            signal.signal(other, signal.SIG_IGN if other not in (signal.SIGTERM, signal.SIGINT) else handler)
        raise Interrupted(number)
