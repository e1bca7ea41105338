"""A variant's side of taking turns: it makes a step when it is told to, and answers with what the step took.

Runs in TRL's environment too, so it imports nothing of alignkit but what measures memory.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

Watch = str
"""What is measured: `time` of the CPU, `resident` (memory of the process), `tensors` (bytes alive), `operations`; or
`device`, the clock and the memory of a GPU."""


class Turns:
    """Waits for the parent before each step and answers after it.

    Args:
        watch: what is measured beside the time.
        steps: that there will be.
    """

    def __init__(self, watch: Watch, steps: int) -> None:
        self.watch = watch
        self.steps = steps
        self.drawing = 0.0
        self._answers = os.fdopen(os.dup(1), "w")  # what a library prints does not mix with it
        os.dup2(2, 1)
        self._stack = ExitStack()
        self._done = 0
        self._before = resident("VmRSS")
        self._ledger = self._stack.enter_context(_ledger()) if watch == "tensors" else None
        self._stage: Any = None
        self._profile: Any = None

    def ready(self) -> None:
        """Called when all is built; returns when the first step shall begin."""
        if self.watch == "resident":
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        if self._ledger is not None:
            self._stage = self._stack.enter_context(self._ledger.measuring("steps"))
        self._answer(ready=True)
        self._wait()

    def done(self, loss: float | None = None) -> None:
        """Called after each step; returns when the next one shall begin."""
        seconds = self.now() - self._began
        self._done += 1
        found: dict[str, Any] = {"seconds": seconds, "drawing": self.drawing, "loss": loss}
        if self.watch == "resident":
            found["bytes"] = resident("VmHWM") - self._before
        if self.watch == "device" and torch.cuda.is_available():
            found["bytes"] = torch.cuda.max_memory_allocated()
        if self._stage is not None:
            found["bytes"] = self._stage.peak
        if self._profile is not None:
            self._profile.__exit__(None, None, None)
            found["operations"] = operations(self._profile)
        self.drawing = 0.0
        self._answer(**found)
        if self._done == self.steps:
            os._exit(0)
        self._wait()

    def now(self) -> float:
        """Seconds: of the CPU, or by the clock when a device has done all that it was given."""
        if self.watch != "device":
            return time.process_time()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        return time.perf_counter()

    def _wait(self) -> None:
        if sys.stdin.readline() != "step\n":
            os._exit(0)
        if self.watch == "operations":
            self._profile = _profile().__enter__()
        self._began = self.now()

    def _answer(self, **values: Any) -> None:
        print(json.dumps(values), file=self._answers, flush=True)


def resident(key: str) -> int:
    """Bytes of this process, as the kernel says: `VmRSS` what it has, `VmHWM` the most it had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def _ledger() -> Any:
    from alignkit.plan.ledger import Ledger

    return Ledger()


def _profile() -> Any:
    from torch.profiler import ProfilerActivity, profile

    return profile(activities=[ProfilerActivity.CPU])


def operations(profile: Any) -> dict[str, tuple[int, float]]:
    """Operation -> (calls, seconds by the clock in itself)."""
    return {one.key: (one.count, one.self_cpu_time_total / 1e6) for one in profile.key_averages()}
