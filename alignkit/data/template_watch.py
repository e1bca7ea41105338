"""Ends a chat template that takes more time or memory than any real one: templates are programs of whoever made the
tokenizer, and the sandbox they run in limits what they reach, not how long they loop."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alignkit.errors import DataError

T = TypeVar("T")

SECONDS = 10.0
"""Processor time for one rendering; a real template takes some 0.0003. Not time on the wall, or a stopped or busy
machine would make the difference."""

MEMORY = 2**30
"""Bytes by which the process may grow during one rendering. Seen on Linux only."""

_LOOK_EVERY = 0.02
"""Seconds."""

_AGAIN_AFTER = 1.0
"""Seconds after which a second exception follows, should the first have been lost where Python ignores them."""


class _Overrun(BaseException):
    """Raised inside a template; no Exception, because jinja and callers of a template catch those."""


class Watch:
    """A thread that looks at the one that renders, and raises an exception in it when a rendering takes too much.

    This works on any thread and system, where an alarm signal would need the main thread, and costs a template nothing,
    where counting its steps would double its time. A single operation of the interpreter that never returns, such as
    9 ** 9 ** 9, cannot be ended.
    """

    def __init__(self) -> None:
        self.excess = ""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._renders = threading.get_ident()
        self._begun = time.process_time()
        self._thread = threading.Thread(target=self._look, name="template watch", daemon=True)

    def begin(self) -> None:
        """The next rendering begins."""
        self._begun = time.process_time()

    def run(self, work: Callable[[], T]) -> T:
        """What `work` returns.

        Raises:
            DataError: a rendering took too much; `excess` says of what.
        """
        try:
            try:
                self._thread.start()
                return work()
            finally:
                self._stop()
        except _Overrun:
            self._over.set()  # it may have come before the work's end was noted
            raise DataError(self.excess) from None

    def _stop(self) -> None:
        with self._lock:
            self._over.set()
        # Sent as the work ended, and not raised yet: taken back, or it would be raised anywhere.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._renders), None)

    def _look(self) -> None:
        begun, size = self._begun, _resident()
        while not self._over.wait(_LOOK_EVERY):
            if begun != self._begun:
                begun, size = self._begun, _resident()
            elif time.process_time() - begun > SECONDS:
                self._end(f"took more than {SECONDS:g} s for one conversation")
            elif _resident() - size > MEMORY:
                self._end(f"took more than {MEMORY / 2**20:,.0f} MiB of memory for one conversation")

    def _end(self, excess: str) -> None:
        with self._lock:
            if not self._over.is_set():
                self.excess = excess
                exception = ctypes.py_object(_Overrun)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._renders), exception)
        self._over.wait(_AGAIN_AFTER)


def _resident() -> int:
    """Bytes of memory that the process holds; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except (OSError, ValueError, IndexError):
        return 0
