"""Forked children, for scenarios that kill runs: what was imported once is there in each of them."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def in_child(job: Callable[[], None]) -> int:
    """Starts `job` in a forked child; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        job()
    except SystemExit as stop:
        os._exit(stop.code if isinstance(stop.code, int) else 1)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wait(pid: int, expected: int = 0) -> None:
    """Waits for a child, which must end with `expected`: its exit code, or minus a signal."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == expected, f"a child ended with {status}, expected {expected}"
