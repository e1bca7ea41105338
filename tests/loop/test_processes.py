"""When one process fails all end soon, and one message names it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alignkit.loop.processes import joined
from alignkit.loop.signals import Interrupted

SCRIPT = Path(__file__).with_name("process_scenarios.py")


def outcomes(folder, which):
    """Runs scenarios and gives what reads the outcome of one."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, SCRIPT, folder, which], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    def read(name):
        record = json.loads((folder / f"{name}.json").read_text())
        return record["codes"], record["seconds"], record["errors"], folder / name

    return read


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Reads what became of a scenario; those of the default run are run once."""
    return outcomes(tmp_path_factory.mktemp("processes"), "few")


@pytest.fixture(scope="module")
def further_outcome(tmp_path_factory):
    """The same of the others."""
    return outcomes(tmp_path_factory.mktemp("processes"), "rest")


def test_alone_a_signal_is_told_and_keeps_its_exit_status(capsys):
    with pytest.raises(SystemExit) as stopped, joined():
        raise Interrupted(signal.SIGTERM)
    assert stopped.value.code == 143
    assert capsys.readouterr().err == "stopped by SIGTERM\n"


def test_a_bug_in_one_ends_both_and_is_told_once(outcome):
    told_once(1, *outcome("a_bug_amid_training"))


@pytest.mark.slow
def test_a_bug_in_the_main_one_does_too(further_outcome):
    told_once(0, *further_outcome("a_bug_in_the_main_one"))


def told_once(rank, codes, seconds, errors, _):
    assert codes == [1, 1]
    assert seconds < 10
    assert errors.startswith(f"process {rank} of 2: Traceback (most recent call last):\n")
    assert errors.endswith("RuntimeError: boom\n")
    assert errors.count("Traceback") == 1


@pytest.mark.slow
def test_a_mistake_in_one_ends_both_and_names_it(further_outcome):
    codes, seconds, errors, _ = further_outcome("a_mistake_in_one")
    assert codes == [2, 2]
    assert seconds < 10
    assert errors == "process 1 of 2: rows.jsonl:3: no text\n"


def test_a_mistake_in_all_is_told_once(outcome):
    codes, _, errors, _ = outcome("a_mistake_in_all")
    assert codes == [2, 2]
    assert errors.startswith("--set losses=[{name: nothing}]: losses.0.name: unknown loss 'nothing'; ")
    assert errors.count("\n") == 1


def test_the_other_does_not_outlive_a_killed_one(outcome):
    codes, seconds, errors, _ = outcome("killed")
    assert codes == [1, -signal.SIGKILL]
    assert seconds < 10
    assert errors == "process 1 of 2 is gone: it was killed, as for want of memory, or it crashed\n"


def test_another_recipe_in_one_is_refused_before_anything_is_loaded(outcome):
    codes, _, errors, folder = outcome("another_recipe_in_one")
    assert codes == [2, 2]
    assert errors == (
        "process 1 of 2 has another recipe: training.steps 5, process 0: 4; start all processes with the same files\n"
    )
    assert not folder.exists()


def test_more_processes_than_rows_of_a_batch_are_refused(outcome):
    codes, _, errors, folder = outcome("too_many_for_the_batch")
    assert codes == [2, 2]
    assert errors == (
        "--set training.batch_size=1: training.batch_size: expected at least 2, a row for each process of the run, "
        "got 1; or start fewer\n"
    )
    assert not folder.exists()


@pytest.mark.slow
def test_a_signal_to_one_while_measuring_ends_both_with_the_command_that_goes_on(further_outcome):
    """The training is whole by then: the second start only measures."""
    codes, seconds, errors, folder = further_outcome("terminated_while_measuring")
    assert codes == [128 + signal.SIGTERM] * 2
    assert seconds < 10
    assert errors == (
        "process 1 of 2: stopped by SIGTERM between two steps or while measuring; "
        f"go on with alignkit run {folder} --resume\n"
    )
    assert (folder / "final" / "model.safetensors").exists()
    assert not (folder / "DONE").exists()


@pytest.mark.slow
def test_without_a_fault_both_end_well(further_outcome):
    codes, _, errors, folder = further_outcome("fine")
    assert (codes, errors) == ([0, 0], "")
    assert (folder / "DONE").exists()
