"""Slow rewards in worker processes: order, sharing, limits, and that no process is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slow_rewards import Process, Slow, sample

from alignkit.errors import RewardError
from alignkit.rewards.judge import Judge
from alignkit.rewards.workers import Workers


def is_gone(process: int) -> bool:
    """Whether a process ends within seconds; one that nobody has waited for is gone too."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def arguments() -> str:
    """Of all processes."""
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_hung_and_dead_workers_cost_their_own_sample_only(tmp_path: Path):
    started = tmp_path / "started"
    orders = ["say 1", f"hang {started}", "none", "die", "say 5", "say 6"]
    rewards = [Slow(name="slow", timeout=1.0, scale=(2.0,)), Slow(name="slow", label="other", timeout=1.0)]
    with Judge(rewards, 2) as judge:
        begun = time.monotonic()
        scores = judge([sample(order) for order in orders])
        assert time.monotonic() - begun < 15
    assert scores == [[2.0, None, None, None, 10.0, 12.0], [1.0, None, None, None, 5.0, 6.0]]
    assert started.exists()
    assert str(started) not in arguments()


def test_all_workers_are_used_and_stay_until_they_are_left():
    with Judge([Process(name="process")], 2) as judge:
        [first] = judge([sample("nap") for _ in range(6)])
        [second] = judge([sample("nap") for _ in range(6)])
        assert len(set(first)) == 2
        assert set(second) == set(first)
    assert all(is_gone(int(process or 0)) for process in set(first))


def test_what_goes_wrong_in_a_worker_is_told_with_its_sample():
    with Judge([Slow(name="slow")], 1) as judge:
        place = r"\(slow_rewards.py:\d+, row 8 of the data\)"
        with pytest.raises(RewardError, match=rf"^reward 'slow' raises KeyError: 'no such column' {place}$"):
            judge([sample("say 1"), sample("raise", group=7), sample("nap")])
        with pytest.raises(RewardError, match=r"^reward 'slow' raises SystemExit: bye \(slow_rewards\.py:\d+, "):
            judge([sample("leave")])


def test_a_reward_that_no_other_process_can_build_is_told():
    class Local(Slow):
        """Nobody can import it."""

    with pytest.raises(RewardError, match=r"^a worker process for slow rewards cannot be started: AttributeError: "):
        Workers([Local(name="local")], 1).score([(0, sample("say 1"))])


KILLED = """
import sys
from slow_rewards import Process, Slow, sample
from alignkit.rewards.judge import Judge
judge = Judge([Process(name="process"), Slow(name="slow")], 1)
print(int(judge([sample("say 1")])[0][0]), flush=True)
judge([sample(f"hang {sys.argv[1]}")])
"""


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path):
    tests = str(Path(__file__).parents[1])
    started = tmp_path / "started"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(started)], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        while not started.exists():
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
    assert is_gone(worker)
    for _ in range(100):
        if str(started) not in arguments():
            break
        time.sleep(0.05)
    assert str(started) not in arguments()
