"""The runs of a sweep as processes of their own, so that one that dies takes no other with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Final

from alignkit.errors import printable
from alignkit.folder import DONE
from alignkit.loop.signals import StopRequest
from alignkit.loop.threads import THREADS, threads
from alignkit.records.files import one_line
from alignkit.rewards import permission
from alignkit.sweep.planning import PlannedRun
from alignkit.sweep.record import LOGS

PROGRAM: Sequence[str] = (sys.executable, "-m", "alignkit")
"""What a child is."""

POLL: Final = 0.1
"""Seconds between two looks at the children."""

TAIL: Final = 4096
"""Bytes at the end of a log in which its last line is looked for."""


@dataclass(frozen=True)
class Child:
    """A run that is going on.

    Attributes:
        run: which one.
        process: its process.
        log: what it prints.
        start: bytes that the log had before.
        began: seconds of a clock that only grows.
    """

    run: PlannedRun
    process: subprocess.Popen[bytes]
    log: Path
    start: int
    began: float

    @property
    def doing(self) -> str:
        """The last line that it printed."""
        with self.log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self.start, end - TAIL))
            lines = file.read(TAIL).decode("utf-8", "replace").split("\n")
        return printable(next((line.strip() for line in reversed(lines) if line.strip()), ""))


@dataclass(frozen=True)
class Ended:
    """A run that came to an end.

    Attributes:
        run: which one.
        seconds: how long it took.
        error: why it failed, in one line; None when it finished.
    """

    run: PlannedRun
    seconds: float
    error: str | None


def run_all(
    runs: Sequence[PlannedRun],
    folder: Path,
    jobs: int,
    on_end: Callable[[Ended], None],
    on_look: Callable[[Sequence[Child]], None],
) -> int:
    """Runs each, at most `jobs` at once.

    A stop signal is passed on once to the runs that are going on, which save a checkpoint; no other one begins.

    Args:
        runs: what is left to do.
        folder: of the sweep.
        jobs: how many at once.
        on_end: told of each that ended by itself.
        on_look: told of those that are going on, each time they are looked at.

    Returns:
        The number of the signal that stopped it, or 0.
    """
    waiting, going = [*runs], list[Child]()
    with StopRequest() as stop, _ended(going):
        was_told = False
        while going or (waiting and not stop.signal):
            while waiting and len(going) < jobs and not stop.signal:
                going.append(_begun(waiting.pop(0), folder, jobs))
            time.sleep(POLL)
            if stop.signal and not was_told:
                was_told = True
                for child in going:
                    child.process.terminate()
            for child in [child for child in going if child.process.poll() is not None]:
                going.remove(child)
                if not stop.signal or child.process.returncode == 0:
                    on_end(_end_of(child, folder))
            on_look(going)
    return stop.signal


def command(run: PlannedRun, folder: Path) -> list[str]:
    """What runs it, or goes on with it."""
    sets = [word for text in run.arguments for word in ("--set", text)]
    output = ["--output", str(folder / run.folder), "--resume", *permission.option().split()]
    return [*PROGRAM, "run", run.recipe, *sets, *output]


def _begun(run: PlannedRun, folder: Path, jobs: int) -> Child:
    log = folder / LOGS / f"{run.name}.log"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # or the last line would not be what came last
    if (count := threads(jobs)) is not None:
        environment[THREADS] = str(count)
    with one_line(log):
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as file:
            start = file.tell()
            # A session of its own: the terminal's Ctrl-C would reach it beside the signal that is passed on.
            process = subprocess.Popen(
                command(run, folder),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
    return Child(run, process, log, start, time.monotonic())


def _end_of(child: Child, folder: Path) -> Ended:
    return Ended(child.run, time.monotonic() - child.began, _error(child, folder))


def _error(child: Child, folder: Path) -> str | None:
    code = child.process.returncode
    if code == 0 and (folder / child.run.folder / DONE).is_file():
        return None
    if code < 0:
        return f"killed by {Signals(-code).name}; last line: {child.doing}"
    return child.doing or f"ended with exit status {code} and said nothing"


@contextmanager
def _ended(going: Sequence[Child]) -> Iterator[None]:
    """Leaves no child behind, whatever happens."""
    try:
        yield
    finally:
        for child in going:
            child.process.kill()
            child.process.wait()
