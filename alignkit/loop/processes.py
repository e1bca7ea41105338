"""Several processes of one run: when one fails all end within seconds, and the user reads one message that names it.

Left alone, a process that fails leaves the others waiting for its part of a sum, for as long as the backend's timeout.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.errors import AlignkitError
from alignkit.lazy import accelerate, torch
from alignkit.loop.signals import Interrupted

if TYPE_CHECKING:
    from torch._C._distributed_c10d import TCPStore

POLL = 0.25
"""Seconds between two looks at whether another process has failed."""

PATIENCE = 3.0
"""Seconds that a failing process waits for others to fail alike, and then for them to leave."""

BURIAL = 0.5
"""Seconds that the system may take to show that a process has ended, after its connections have closed."""

TOLD = "ALIGNKIT_TOLD"
"""Names a file for `alignkit launch`: once it is there, what ended the processes of this node has been told."""


@contextmanager
def joined() -> Iterator[None]:
    """What runs inside fails together; a run of one process is left as it is.

    An error that all processes raise alike is told once, any other one with the process it came from, and so is the
    sudden end of a process. Then all leave with the error's exit code, those that are stuck in an exchange too.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        try:
            yield
        except Interrupted as stop:
            _print(stop.message)
            raise
        return
    accelerate.PartialState(cpu=not torch.accelerator.is_available())
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    peers = _Peers(_store(rank), rank, world)
    try:
        yield
    except Interrupted as stop:
        peers.unless_lost(stop.message, stop.signal + 128)
    except SystemExit:  # agreed on by all
        peers.part()
        raise
    except AlignkitError as error:
        peers.fail(str(error), error.exit_code)
    except BaseException as error:
        peers.unless_lost("".join(traceback.format_exception(error)).rstrip(), 1)
    else:
        peers.part()


def _store(rank: int) -> TCPStore:
    """A small table that all processes see, kept by the main one."""
    kind: type[TCPStore] = getattr(torch.distributed, "TCPStore")  # noqa: B009 -- public, but not declared so
    host = os.environ.get("MASTER_ADDR", "localhost")
    timeout = timedelta(seconds=60)
    port = [0]
    store = None
    if rank == 0:
        store = kind(host, 0, None, True, timeout, wait_for_workers=False)
        port = [store.port]
    accelerate.utils.broadcast_object_list(port)
    return store or kind(host, port[0], None, False, timeout, wait_for_workers=False)


class _Peers:
    """The other processes.

    Args:
        store: seen by all.
        rank: this process.
        world: number of processes.
    """

    def __init__(self, store: TCPStore, rank: int, world: int) -> None:
        self.store = store
        self.rank = rank
        self.world = world
        self._neighbours: dict[int, int] = {}
        self._leaving = threading.Event()
        store.set(f"home/{rank}", json.dumps([_host(), os.getpid()]))
        threading.Thread(target=self._watch, daemon=True).start()

    def part(self) -> None:
        """Leaves in peace; the main process stays until all do, because the table is in its hands."""
        self._leaving.set()
        accelerate.PartialState().destroy_process_group()  # left to the interpreter's end, it may abort
        with suppress(RuntimeError):
            self.store.set(f"left/{self.rank}", "")
        self._wait_for("left", self.world, patience=10 * PATIENCE)
        _mark_told()

    def unless_lost(self, message: str, code: int) -> None:
        """`fail`, unless what happened here may follow from the sudden end of another process. Does not return."""
        self._leaving.set()
        deadline = time.monotonic() + BURIAL
        while (lost := self._lost()) is None and time.monotonic() < deadline:
            time.sleep(POLL / 5)
        if lost is not None:
            self._leave_lost(lost)
        self.fail(message, code)

    def fail(self, message: str, code: int) -> None:
        """Tells the user, unless another process has, and ends all processes. Does not return."""
        self._leaving.set()
        try:
            mine = f"alike/{hashlib.sha256(message.encode()).hexdigest()}"
            self.store.add(mine, 1)
            if self.store.add("failed", 1) == 1:
                is_common = self._wait_for(mine, self.world, count=False)
                _print(message if is_common else f"process {self.rank} of {self.world}: {message}")
                self.store.set("code", str(code))
            else:
                code = self._told(code)
            self._wait_for("left", self.world)
        except RuntimeError:  # the main process is gone, and the table with it
            _print(f"process {self.rank} of {self.world}: {message}")
        _leave(code)

    def _watch(self) -> None:
        """Ends this process when another one has failed, wherever it is stuck; a thread of its own."""
        while not self._leaving.wait(POLL):
            code = self._code()
            lost = self._lost() if code is None else None
            if self._leaving.is_set():
                return
            if lost is not None:
                self._leave_lost(lost)
            if code is not None:
                _leave(code)

    def _code(self) -> int | None:
        """The exit code of a process that has failed and told; counts this one as leaving with it."""
        try:
            if self.store.check(["code"]):
                self.store.add("left", 1)
                return int(self.store.get("code"))
        except RuntimeError:  # `_lost` says what this means
            pass
        return None

    # --- a process that is gone without a word: killed, as for want of memory, or crashed ---

    def _lost(self) -> int | None:
        """A process that has ended and told nobody, if it is of this machine or the main one."""
        try:
            for rank, pid in self._processes_here().items():
                if _has_ended(pid) and not self.store.check([f"left/{rank}"]) and not self.store.check(["code"]):
                    return rank
        except RuntimeError:  # the table is gone
            return 0
        return None

    def _processes_here(self) -> dict[int, int]:
        """Rank -> process id of the others on this machine, of those that have said where they are."""
        for rank in range(self.world):
            if rank not in self._neighbours and self.store.check([f"home/{rank}"]):
                host, pid = json.loads(self.store.get(f"home/{rank}"))
                self._neighbours[rank] = pid if host == _host() and rank != self.rank else 0
        return {rank: pid for rank, pid in self._neighbours.items() if pid}

    def _leave_lost(self, rank: int) -> None:
        """Tells the user, unless another process has, and ends all processes. Does not return."""
        try:
            is_first = self.store.add("failed", 1) == 1
        except RuntimeError:  # nobody can be asked: the lowest one of the machine that is left tells
            is_first = all(other > self.rank or _has_ended(pid) for other, pid in self._neighbours.items() if pid)
        if is_first:
            _print(f"process {rank} of {self.world} is gone: it was killed, as for want of memory, or it crashed")
        with suppress(RuntimeError):
            self.store.set("code", "1")
            self._wait_for("left", self.world - 1)
        _leave(1)

    def _wait_for(self, key: str, count_to: int, *, count: bool = True, patience: float | None = None) -> bool:
        """Counts this process under `key` and waits a while for the others to come, on the main process at least."""
        try:
            arrived = self.store.add(key, int(count))
            deadline = time.monotonic() + (patience or PATIENCE)
            while arrived < count_to and (self.rank == 0 or not count) and time.monotonic() < deadline:
                time.sleep(POLL / 5)
                arrived = self.store.add(key, 0)
        except RuntimeError:
            return False
        return arrived >= count_to

    def _told(self, code: int) -> int:
        """The exit code of whoever failed first; what happened here may only follow from it."""
        deadline = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < deadline:
            if self.store.check(["code"]):
                return int(self.store.get("code"))
            time.sleep(POLL / 5)
        return code


def _host() -> str:
    """The machine, and the part of it whose process ids this process sees."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {os.readlink(namespace) if namespace.is_symlink() else ''}"


def _has_ended(pid: int) -> bool:
    """Whether a process of this machine has, even if nobody has asked for its exit status yet."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except ProcessLookupError:
        return True
    except OSError:  # another user's, or no such table
        return False
    return state[0] in "ZX"


def _mark_told() -> None:
    if file := os.environ.get(TOLD):
        with suppress(OSError):
            Path(file).touch()


def _print(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _leave(code: int) -> None:
    """Ends the process without the usual tidying, which would wait for the others."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    _mark_told()
    os._exit(code)
