"""The command line of torchrun, and what is said of an end that no process could tell."""

from __future__ import annotations

import os
import shlex
import sys
from types import SimpleNamespace

import pytest

from alignkit.errors import LaunchError
from alignkit.launch import start
from alignkit.launch.placement import Placement

SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
REST = ["--max-restarts", "0", "--log-dir", os.devnull, "--signals-to-handle", SIGNALS, "--shutdown-timeout", "3600"]
RUN = ["alignkit", "run", "r.yaml", "--set", "seed=1"]


@pytest.mark.parametrize(
    ("placement", "words"),
    [
        (Placement(1), [sys.executable, "-m", *RUN]),
        (Placement(2), [*TORCHRUN, "--standalone", "--nproc-per-node", "2", *REST, "--module", *RUN]),
        (
            Placement(8, 2, 1, "gpu01", 24711),
            [
                *TORCHRUN,
                *("--nnodes", "2", "--node-rank", "1", "--master-addr", "gpu01", "--master-port", "24711"),
                *("--nproc-per-node", "8", *REST, "--module", *RUN),
            ],
        ),
    ],
)
def test_the_line_of_each_placement(placement, words):
    assert start.words(placement, RUN[2:]) == words


def test_torchrun_reads_the_line_as_it_is_meant():
    from torch.distributed import run

    placement = Placement(8, 2, 1, "gpu01", 24711)
    read = run.parse_args(start.words(placement, ["r.yaml", "--output", "x", "--resume"])[3:])
    assert (read.nnodes, read.node_rank, read.master_addr, read.master_port) == ("2", 1, "gpu01", 24711)
    assert (read.nproc_per_node, read.max_restarts, read.signals_to_handle) == ("8", 0, SIGNALS)
    assert (read.module, read.training_script) == (True, "alignkit")
    assert read.training_script_args == ["run", "r.yaml", "--output", "x", "--resume"]


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("alignkit.loop.threads.cores", lambda: 12)
    assert start.variables(Placement(4)) == {"OMP_NUM_THREADS": "3"}
    assert start.variables(Placement(16)) == {"OMP_NUM_THREADS": "1"}
    assert start.variables(Placement(1)) == {}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert start.variables(Placement(4)) == {}


def test_what_is_printed_is_what_a_shell_reads():
    line = ["python", "-m", "x", "losses=[{name: dpo}]", "it's"]
    assert shlex.split(start.shell_line(line, {"A": "b c"})) == ["A=b c", *line]


@pytest.mark.parametrize(
    ("exitcode", "is_told", "code", "said"),
    [
        (2, True, 2, ""),
        (-9, True, 137, ""),
        (-9, False, 137, "process 3 of 8 was killed by SIGKILL before it could say why; all processes were ended\n"),
        (1, False, 1, "process 3 of 8 ended with exit status 1 before it could say why; all processes were ended\n"),
    ],
)
def test_an_end_is_told_where_no_process_has(monkeypatch, capsys, exitcode, is_told, code, said):
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    def run(arguments: SimpleNamespace) -> None:
        if is_told:
            open(os.environ["ALIGNKIT_TOLD"], "w").close()
        failures = {3: ProcessFailure(1, 1, exitcode, ""), 2: ProcessFailure(0, 2, -15, "")}
        failures[3].timestamp -= 1
        raise ChildFailedError("alignkit", failures)

    monkeypatch.setattr("torch.distributed.run.run", run)
    placement, before = Placement(2, 4, 1, "a", 1), dict(os.environ)
    assert start.start(start.words(placement, []), {}, placement, start.Wish()) == code
    assert capsys.readouterr().err == said
    assert dict(os.environ) == before


def test_the_killed_process_is_named_though_another_ended_before_it(monkeypatch, capsys):
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    def run(arguments: SimpleNamespace) -> None:
        failures = {0: ProcessFailure(0, 1, 1, ""), 1: ProcessFailure(1, 2, -9, "")}
        failures[0].timestamp -= 1
        raise ChildFailedError("alignkit", failures)

    monkeypatch.setattr("torch.distributed.run.run", run)
    placement = Placement(2)
    assert start.start(start.words(placement, []), {}, placement, start.Wish()) == 137
    assert capsys.readouterr().err.startswith("process 1 of 2 was killed by SIGKILL")


def test_two_processes_do_not_share_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 2)
    placement = Placement(3)
    with pytest.raises(LaunchError, match=r"^--processes 3: expected at most 2, one to each GPU of this machine$"):
        start.start(start.words(placement, []), {}, placement, start.Wish())
