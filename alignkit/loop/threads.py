"""How many threads each of several processes on one machine is given."""

from __future__ import annotations

import os
from typing import Final

THREADS: Final = "OMP_NUM_THREADS"


def threads(processes: int) -> int | None:
    """An equal part of the cores; None where the user has said it, or there is one process."""
    return None if processes < 2 or THREADS in os.environ else max(1, cores() // processes)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
