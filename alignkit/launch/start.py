"""From a placement to running processes: torchrun's command line, and how its end is told."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import Signals
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from alignkit.data.raw import first_line
from alignkit.errors import LaunchError
from alignkit.folder import LAUNCHED
from alignkit.launch.placement import Placement, Wish
from alignkit.lazy import LazyModule, torch
from alignkit.loop.processes import TOLD
from alignkit.loop.threads import THREADS, threads

if TYPE_CHECKING:
    import torch.distributed as distributed
    import torch.distributed.elastic.multiprocessing.api as multiprocessing
    import torch.distributed.elastic.multiprocessing.errors as elastic_errors

    torchrun: Any  # torch.distributed.run, whose functions are not annotated
else:
    distributed = LazyModule("torch.distributed")
    elastic_errors = LazyModule("torch.distributed.elastic.multiprocessing.errors")
    multiprocessing = LazyModule("torch.distributed.elastic.multiprocessing.api")
    torchrun = LazyModule("torch.distributed.run")

SIGNALS: Final = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
"""Those that torchrun passes on; by itself it dies of SIGUSR1 and leaves the processes behind."""

CPP_LEVEL: Final = "TORCH_CPP_LOG_LEVEL"

GRACE: Final = 3600
"""Seconds from such a signal until torchrun kills, for the step that is going on and its checkpoint; whoever sent the
signal mostly has less patience."""


def words(placement: Placement, arguments: Sequence[str]) -> list[str]:
    """The command line that starts the processes of this node.

    Args:
        placement: where they are.
        arguments: of `alignkit run`.
    """
    alignkit = ["alignkit", "run", *arguments]
    if placement.is_alone:
        return [sys.executable, "-m", *alignkit]
    if placement.nodes == 1:
        meeting = ["--standalone"]
    else:
        rank, head, port = str(placement.rank), placement.head, str(placement.port)
        meeting = ["--nnodes", str(placement.nodes), "--node-rank", rank, "--master-addr", head, "--master-port", port]
    torchrun_words = [sys.executable, "-m", "torch.distributed.run", *meeting]
    torchrun_words += ["--nproc-per-node", str(placement.processes), "--max-restarts", "0", "--log-dir", os.devnull]
    torchrun_words += ["--signals-to-handle", SIGNALS, "--shutdown-timeout", str(GRACE)]
    return [*torchrun_words, "--module", *alignkit]


def variables(placement: Placement) -> dict[str, str]:
    """What the processes' environment gets beside that of the launcher."""
    count = threads(placement.processes)
    return {} if count is None else {THREADS: str(count)}


def shell_line(line: Sequence[str], added: Mapping[str, str]) -> str:
    """A command line with variables before it, as a shell reads it."""
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in added.items()), shlex.join(line)])


def start(line: Sequence[str], added: Mapping[str, str], placement: Placement, wish: Wish) -> int:
    """Runs a command line of `words` with several processes, in this process in place of a child.

    What ends the processes they tell themselves; where they cannot, it is told here.

    Args:
        line: from `words`, of several processes.
        added: from `variables`.
        placement: where they are.
        wish: what the user said of that, and will say again to go on.

    Returns:
        The exit code: 0, that of the process that failed first, or 128 + the number of a signal that killed one.

    Raises:
        LaunchError: the nodes did not find each other, or this one has too few accelerators.
    """
    run = _quiet_torchrun()
    devices = torch.accelerator.device_count()
    if 0 < devices < placement.processes:
        raise LaunchError(
            f"--processes {placement.processes}: expected at most {devices}, one to each GPU of this machine"
        )
    with TemporaryDirectory(prefix="alignkit-launch-") as folder:
        told = Path(folder) / "told"
        before = dict(os.environ)
        os.environ |= {**added, TOLD: str(told), LAUNCHED: wish.words}
        try:
            run(torchrun.parse_args(list(line[3:])))
        except elastic_errors.ChildFailedError as error:
            return _told_end(error, placement, is_told=told.exists())
        except multiprocessing.SignalException as stop:
            return 128 + int(stop.sigval)
        except distributed.DistError as error:
            raise LaunchError(
                f"{placement.head or 'localhost'}:{placement.port}: the {placement.nodes} nodes do not find each "
                f"other: {first_line(error)}"
            ) from None
        finally:
            os.environ.clear()
            os.environ |= before
    return 0


def _quiet_torchrun() -> Callable[[Any], None]:
    """torchrun's `run` without its own account of an end, a page in which the message of a run would drown."""
    for name in ("elastic", "launcher", "run"):
        logger = logging.getLogger(f"torch.distributed.{name}")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    is_told = CPP_LEVEL in os.environ
    os.environ.setdefault(CPP_LEVEL, "FATAL")  # read once, when torch is loaded; the run's processes read it anew
    run: Callable[[Any], None] = torchrun.run
    if not is_told:
        del os.environ[CPP_LEVEL]
    return run


def _told_end(error: Any, placement: Placement, *, is_told: bool) -> int:  # noqa: ANN401 -- a `ChildFailedError`
    """The exit code; says on standard error what no process could."""
    # A process that sees another one killed leaves too, and may be seen to end first; torchrun itself ends by SIGTERM.
    failures: dict[int, Any] = error.failures
    crashed = {rank: one for rank, one in failures.items() if one.exitcode < 0 and one.exitcode != -Signals.SIGTERM}
    rank, failure = min((crashed or failures).items(), key=lambda item: item[1].timestamp)
    killed = -failure.exitcode if failure.exitcode < 0 else None
    if not is_told:
        end = f"was killed by {Signals(killed).name}" if killed else f"ended with exit status {failure.exitcode}"
        total = placement.processes * placement.nodes
        sys.stderr.write(f"process {rank} of {total} {end} before it could say why; all processes were ended\n")
    return 128 + killed if killed else int(failure.exitcode)
