"""What several processes of one run must have in common, compared before it costs anything.

Each may be on a machine of its own, with its own files: a difference would train a mixture of two runs, or leave one
process waiting for another for ever.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from alignkit.errors import LaunchError, shown
from alignkit.lazy import accelerate
from alignkit.records.lock import holder
from alignkit.records.versions import versions

MOST: Final = 3
"""Differences that are named."""

SECONDS: Final = 10.0
"""How long a file that another machine wrote may take to be seen here."""


def num_processes() -> int:
    """Of this run, on all machines."""
    state: Any = accelerate.PartialState()  # mypy cannot tell the types of its attributes
    return int(state.num_processes)


def alike(what: str, facts: Callable[[], Mapping[str, object]], advice: str) -> None:
    """Refuses, on every process, what one of them has otherwise than the main one.

    Args:
        what: the noun of the message.
        facts: gives name -> value of this process; asked only when there are several.
        advice: what to do about a difference.

    Raises:
        LaunchError: naming the first process that differs, and in what.
    """
    if num_processes() < 2:
        return
    mine = {name: shown(value) for name, value in facts().items()}
    everyone: list[dict[str, str]] = accelerate.utils.gather_object([mine])
    for rank, theirs in enumerate(everyone):
        found = [name for name in {**everyone[0], **theirs} if theirs.get(name) != everyone[0].get(name)]
        if found:
            listed = "; ".join(
                f"{name} {theirs.get(name, 'absent')}, process 0: {everyone[0].get(name, 'absent')}"
                for name in found[:MOST]
            )
            more = f"; and {len(found) - MOST} more" if len(found) > MOST else ""
            raise LaunchError(f"process {rank} of {len(everyone)} has another {what}: {listed}{more}; {advice}")


def same_program() -> None:
    """Refuses processes with other versions or another code of alignkit.

    Raises:
        LaunchError: naming the process.
    """
    alike("installation", lambda: {**versions(), "alignkit's code": _code()}, "install the same on every machine")


def same_folder(path: Path) -> None:
    """Refuses a folder, locked by the main process, that the others do not see.

    Args:
        path: the folder, as the main process calls it.

    Raises:
        LaunchError: naming the first process that does not find in it what the main one has written.
    """
    if num_processes() < 2:
        return
    written = [holder(path)]
    accelerate.utils.broadcast_object_list(written)
    deadline = time.monotonic() + SECONDS  # a network file system may take a while to show a file
    while not (is_seen := holder(path) == written[0]) and time.monotonic() < deadline:
        time.sleep(SECONDS / 100)
    blind: list[str | None] = accelerate.utils.gather_object([None if is_seen else socket.gethostname()])
    for rank, host in enumerate(blind):
        if host is not None:
            raise LaunchError(
                f"{path}: process {rank} of {len(blind)} on host {shown(host)} does not see this run folder as process "
                "0 does; give an --output on a disk that all machines share, and start all in the same folder"
            )


@lru_cache(maxsize=1)
def _code() -> str:
    """A hash of the package's files."""
    package = Path(__file__).parents[1]
    found = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        found.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()[:12]
