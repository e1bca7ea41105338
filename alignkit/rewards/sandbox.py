"""Programs that a model wrote, run apart from everything else for a few seconds.

This is process isolation, not a security boundary. A program has namespaces of its own, in which it sees neither the
network nor other processes, can write below an empty /tmp only, and has no capabilities; limits hold for time, memory,
files and descriptors; it and all that it started end together. But it shares the kernel, and can read every file that
the user can: let a machine with secrets not train on it.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from alignkit.errors import RewardError, printable
from alignkit.rewards.base import Reward
from alignkit.rewards.permission import granted

_SCRIPT: Final = Path(__file__).with_name("sandboxed.py")

_NAMESPACES: Final = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child"),
)
"""Both of util-linux. The first ends the second with this process, and the second what is in the namespaces."""

_ENVIRONMENT: Final = {"LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
"""All that a program gets to see of it; sets have the same order each time."""


def require(rewards: Iterable[Reward]) -> None:
    """Refuses rewards that run code where nobody allowed that or it cannot be done; asked before anything is loaded.

    Raises:
        RewardError: in a line that says what to give on the command line.
    """
    reward = next((reward for reward in rewards if reward.executes_code), None)
    if reward is not None:
        require_permission(f"rewards.{reward.title}")


def require_permission(what: str) -> None:
    """Refuses to run code where nobody allowed that or it cannot be done.

    Args:
        what: runs it, by its place in a recipe.

    Raises:
        RewardError: in a line that says what to give on the command line.
    """
    if granted() == "none":
        raise RewardError(
            f"{what}: runs code that the model writes; give --execute-code on the command line "
            "(execute_code='sandbox' from Python) to allow that on this machine"
        )
    if not passes("import heapq, statistics, typing", seconds=60.0):
        raise RewardError(_unable("a program of a line does not come to its end in it"))


def passes(program: str, seconds: float) -> bool | None:
    """Whether a program comes to its end: without an exception, by itself and in time; None where it could not begin.

    Args:
        program: Python; it has the standard library alone.
        seconds: most that it may take, by the clock and, in whole seconds, of processor time.

    Raises:
        RewardError: nobody allowed it, or this machine cannot isolate it.
    """
    if granted() == "none":
        raise RewardError("code that the model writes is not run without --execute-code")
    word = secrets.token_hex(16)
    isolate = granted() == "sandbox"
    order = {"program": program, "word": word, "seconds": math.ceil(seconds), "isolate": isolate}
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as errors:
        json.dump(order, given)
        given.seek(0)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            _run([*(_NAMESPACES if isolate else ()), *_python()], given, answer, errors, folder, seconds)
        answer.seek(0)
        said = answer.read(100)
        if not said.startswith(b"ready "):
            _complain(errors)
            return None
        return said == f"ready {word}".encode()


def _python() -> list[str]:
    """A Python without site-packages, the caller's folder and byte code."""
    return [sys.executable, "-s", "-S", "-P", "-B", str(_SCRIPT)]


def _run(command: list[str], given: IO[str], answer: IO[bytes], errors: IO[bytes], folder: str, seconds: float) -> None:
    """Runs a command until it ends or its time is up; nothing that it started is left."""
    environment = {**_ENVIRONMENT, "PATH": os.environ.get("PATH", os.defpath)}
    try:
        process = subprocess.Popen(
            command, stdin=given, stdout=answer, stderr=errors, cwd=folder, env=environment, start_new_session=True
        )
    except FileNotFoundError as error:
        raise RewardError(_unable(f"there is no '{error.filename}'")) from None
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _complain(errors: IO[bytes]) -> None:
    errors.seek(0)
    lines = errors.read(2000).decode(errors="replace").strip().splitlines()
    if lines:  # without one the machine is too busy
        raise RewardError(_unable(printable(lines[-1])))


def _unable(why: str) -> str:
    return (
        f"this machine has no sandbox for code that the model writes ({why}); where that code may do all that you may, "
        "--execute-code-without-sandbox runs it without one"
    )
