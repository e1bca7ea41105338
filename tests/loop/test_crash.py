"""Runs that were killed at a bad moment and resumed, and runs of two processes, each in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from loop_scenarios import BAD_ROW, CRASHES, TWO_PROCESS_ROWS, TWO_PROCESS_TOKENS
from loop_toy import ToyStep, make_rows, run_toy, weights_of

from alignkit.loop.metrics import TIMING_KEYS
from alignkit.loop.order import Cut, DataOrder

pytestmark = pytest.mark.slow  # whole runs in processes of their own; tests/test_run.py has the like in the default run

SCRIPT = Path(__file__).parent / "loop_scenarios.py"


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMING_KEYS} for line in lines]


def ends_of(folder):
    return [json.loads(line) for line in (folder / "end.json").read_text().splitlines()]


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory):
    """Folder of all the runs."""
    folder = tmp_path_factory.mktemp("scenarios")
    path = os.pathsep.join([str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, SCRIPT, folder], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", CRASHES)
def test_killed_and_resumed_is_the_uninterrupted_run(scenarios, name):
    """Weights and every line of the log, bit for bit; the two newest checkpoints and nothing else remain."""
    (end,) = ends_of(scenarios / name)
    (expected,) = ends_of(scenarios / "uninterrupted")
    assert end["weights"] == expected["weights"]
    assert log_of(scenarios / name) == log_of(scenarios / "uninterrupted")
    assert [line["step"] for line in log_of(scenarios / name)] == list(range(1, 9))
    assert sorted(path.name for path in (scenarios / name / "checkpoints").iterdir()) == [
        "step-00000006",
        "step-00000008",
    ]


@pytest.mark.parametrize("name", CRASHES)
def test_resumes_where_the_last_whole_checkpoint_is(scenarios, name):
    after = CRASHES[name]
    path = scenarios / name / "checkpoints" / f"step-{after:08d}"
    note = f"resuming after step {after} from {path}" if after else "no checkpoint to resume from; starting at step 1"
    assert ends_of(scenarios / name)[0]["notes"] == [note]


@pytest.mark.parametrize("name", ["two_by_4", "two_by_tokens"])
def test_two_processes_train_as_one(name, scenarios, tmp_path):
    """2 x 4 = 1 x 8 (sums in another order), the batch of one row that the second process has no part of included, and
    where one process makes more micro-batches than the other."""
    _, _, step = run_toy(
        tmp_path, num_rows=TWO_PROCESS_ROWS, eval_every=1, on_eval=lambda number: {"squared": number**2}
    )
    (end,) = ends_of(scenarios / name)
    assert end["weights"] == pytest.approx(weights_of(step).flatten().tolist(), abs=1e-6)
    mine, theirs = log_of(tmp_path), log_of(scenarios / name)
    assert [line["examples"] for line in theirs] == [8, 8, 1, 8, 8, 1, 8]
    for one, two in zip(mine, theirs, strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-6)


def test_two_processes_make_more_and_fewer_micro_batches():
    """What the test above relies on."""
    order, cut = DataOrder(make_rows(TWO_PROCESS_ROWS), 8, seed=3), Cut(4, TWO_PROCESS_TOKENS)
    shares = [[order.share(step, process, 2).rows for process in range(2)] for step in range(7)]
    numbers = [[len(cut.by_length(rows, ToyStep().meter)) for rows in share] for share in shares]
    assert {one == other for one, other in numbers} == {True, False}


def test_a_signal_to_one_process_stops_both_and_they_resume_exactly(scenarios):
    stopped, end = ends_of(scenarios / "two_stopped")
    (expected,) = ends_of(scenarios / "two_by_4")
    path = scenarios / "two_stopped" / "checkpoints" / "step-00000004"
    assert (stopped["stopped_by"], end["stopped_by"]) == (signal.SIGTERM, None)
    assert end["notes"] == [f"resuming after step 4 from {path}"]
    assert end["weights"] == expected["weights"]
    assert log_of(scenarios / "two_stopped") == log_of(scenarios / "two_by_4")


def test_both_processes_stop_at_the_row_of_one(scenarios):
    """The gradients of both are NaN after the exchange; the message names the process and rows it came from.

    Step 2 has the rows 1, 11, 8, 14 and 5, 16, 7, 15 in its two processes; row i stands in line i + 1.
    """
    assert BAD_ROW == 15
    messages = [(scenarios / "two_bad" / f"error-{rank}.txt").read_text() for rank in range(2)]
    expected = (
        "step 2: the loss is nan in the micro-batch of toy.jsonl:6, toy.jsonl:17, toy.jsonl:8, toy.jsonl:16 "
        "(process 1); stopped before the optimizer step; last good checkpoint: none"
    )
    assert messages == [expected, expected]
