"""Worker processes that slow rewards are left to: one sample each at a time, each with a limit by the clock.

A sample whose worker hangs or dies has no score, and another worker takes the place: what a verifier does to its own
process is no matter for the run. They are started with `subprocess`, not `multiprocessing`, which would run the
caller's main module once more in each.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Final

from alignkit.errors import RewardError
from alignkit.rewards import permission
from alignkit.rewards.base import Reward, Sample
from alignkit.rewards.worker import Recipe, Said

PATIENCE: Final = 120.0
"""Seconds that a worker may take to start, and to begin with a sample."""

MOST: Final = 16
"""Most workers of one process."""

_START: Final = """
import os, sys
if not os.fork():
    os.close({end})
    os.read({life}, 1)
    os.killpg(0, {kill})
sys.path[:] = {path!r}
from alignkit.rewards.worker import main
main({end})
"""
"""A worker and its guard, which waits for the end of a pipe that this process alone holds open: however it comes to its
end, the worker ends too, with all that it started."""


def default_count() -> int:
    """One worker a core, the cores shared among the run's processes on this machine."""
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(cores, MOST))


class Workers:
    """The workers of one process of a run, shared by all its slow rewards; started when there is work for them.

    Args:
        rewards: the slow ones.
        count: most workers at a time; None for as many as the machine has cores for.
    """

    def __init__(self, rewards: Sequence[Reward], count: int | None = None) -> None:
        self._rewards = list(rewards)
        self._most = count or default_count()
        self._workers: list[_Worker] = []

    def score(self, jobs: Sequence[tuple[int, Sample]]) -> list[float | None]:
        """Scores samples, each by the reward of its number, with all workers.

        Args:
            jobs: (place of the reward in `rewards`, sample).

        Returns:
            The scores in the order of the jobs; None where a reward gives none, or takes longer than its `timeout`, or
            ends its process.

        Raises:
            RewardError: a reward fails, or workers cannot be started.
        """
        scores: list[float | None] = [None] * len(jobs)
        waiting = deque(range(len(jobs)))
        try:
            while waiting or any(worker.job is not None for worker in self._workers):
                self._employ(len(waiting))
                for worker in self._workers:
                    if worker.is_ready and worker.job is None and waiting:
                        worker.give(waiting[0], *jobs[waiting.popleft()])
                self._listen(scores)
        except BaseException:
            self.close()  # what the others are at belongs to nobody
            raise
        return scores

    def close(self) -> None:
        """Ends all workers at once, and what they started."""
        while self._workers:
            self._workers.pop().end()

    def _employ(self, waiting: int) -> None:
        """As many workers as there is work for; others in the place of dead ones."""
        for worker in [worker for worker in self._workers if worker.job is None and worker.is_dead]:
            self._leave(worker)
        free = sum(worker.job is None for worker in self._workers)
        for _ in range(min(waiting - free, self._most - len(self._workers))):
            self._workers.append(_Worker(self._rewards))

    def _listen(self, scores: list[float | None]) -> None:
        """Waits until a worker says something or has used up its time."""
        left = min(worker.deadline for worker in self._workers) - monotonic()
        heard = wait([worker.connection for worker in self._workers], None if left == math.inf else max(left, 0))
        for worker in list(self._workers):
            if worker.connection in heard:
                self._hear(worker, scores)
            elif worker.deadline <= monotonic():
                self._leave(worker)

    def _hear(self, worker: _Worker, scores: list[float | None]) -> None:
        said = worker.hear()
        if said is None:
            self._leave(worker)
        elif said[0] == "error":
            raise RewardError(said[1])
        elif said[0] == "score":
            assert worker.job is not None
            scores[worker.job] = said[1]
            worker.rest()

    def _leave(self, worker: _Worker) -> None:
        """Parts with a worker that hangs or is dead; its sample stays without a score."""
        self._workers.remove(worker)
        code = worker.end()
        if not worker.is_ready:
            raise RewardError(
                f"a worker process for slow rewards cannot be started: no word in {PATIENCE:.0f} s"
                if code is None
                else f"a worker process for slow rewards ends before its first sample, with exit code {code}"
            )


class _Worker:
    """One worker process, as its employer sees it.

    Attributes:
        job: number of the job that it has; None where it has none.
        is_ready: whether it has built its rewards.
        deadline: when its time is up, by the monotonic clock.
    """

    def __init__(self, rewards: Sequence[Reward]) -> None:
        ours, theirs = socket.socketpair()
        life, self._life = os.pipe()
        start = _START.format(path=sys.path, end=theirs.fileno(), life=life, kill=int(signal.SIGKILL))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", start],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), life],
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        os.close(life)
        self._rewards = rewards
        self._limit = PATIENCE
        self.connection = Connection(ours.detach())
        self.job: int | None = None
        self.is_ready = False
        self.deadline = monotonic() + PATIENCE
        self._send(([Recipe.of(reward) for reward in rewards], permission.granted()))

    @property
    def is_dead(self) -> bool:
        return self._process.poll() is not None

    def give(self, job: int, reward: int, sample: Sample) -> None:
        """Lets it score a sample; the clock runs when it says that it begins."""
        self.job = job
        self.deadline = monotonic() + PATIENCE
        self._limit = self._rewards[reward].timeout
        self._send((reward, sample))

    def rest(self) -> None:
        """Its work is done."""
        self.job = None
        self.deadline = math.inf

    def hear(self) -> Said | None:
        """What it says; None where it is dead."""
        try:
            said: Said = self.connection.recv()
        except (EOFError, OSError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            return None
        if said[0] == "ready":
            self.is_ready = True
            self.rest()
        elif said[0] == "begins":
            self.deadline = monotonic() + self._limit
        return said

    def end(self) -> int | None:
        """Ends it with all that it started; gives its exit code where it had ended by itself."""
        code = self._process.poll()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.connection.close()
        os.close(self._life)
        return code

    def _send(self, message: object) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # a dead one is noticed when it is listened to
            self.connection.send(message)
