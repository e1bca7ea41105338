"""Processes that `alignkit launch` has started: they end together, save when told to, and go on with the same bits."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

RECIPE = {
    "model": {"name": "world", "start": "random"},
    "data": {"train": "builtin:world", "world": {"pairs": 12, "eval_pairs": 4}},
    "losses": [{"name": "dpo"}],
    "trainer": "preference",
    "training": {"steps": 40, "batch_size": 4, "micro_batch_size": 1, "learning_rate": 0.001},
    "evaluation": {"pairs": 2, "samples": 0, "report": False},
}
ENDLESS = ("--set", "training.steps=100000")


class Launched:
    """A launcher in a folder with `r.yaml`; what it and its processes say is in a file."""

    def __init__(self, folder: Path, name: str, options: list[str], *arguments: str, **variables: str) -> None:
        (folder / "r.yaml").write_text(yaml.safe_dump(RECIPE))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | variables
        self.log, self.out = folder / f"{name}.log", folder / "out"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "alignkit", "launch", "r.yaml", *options, "--", "--output", "out", *arguments],
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def trains(self) -> None:
        """Waits for the first step."""
        metrics, deadline = self.out / "metrics.jsonl", time.monotonic() + 120
        while not (metrics.exists() and metrics.stat().st_size):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def worker(self, number: int) -> int:
        """The process id of its `number`-th process."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[number])

    def end(self) -> tuple[int, str]:
        """Exit code and the last line."""
        return self.process.wait(timeout=120), self.log.read_text().splitlines()[-1]


def same_files(one: Path, other: Path) -> None:
    for name in ("final/model.safetensors", "checkpoints/step-00000040/optimizer.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_signal_to_the_launcher_saves_and_the_advice_goes_on_with_the_same_bits(tmp_path):
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    for folder in (stopped, whole):
        folder.mkdir()
    first = Launched(stopped, "first", ["--processes", "2"])
    first.trains()
    first.process.send_signal(signal.SIGUSR1)
    code, last = first.end()
    assert code == 138
    said, _, advice = last.partition("; go on with ")
    assert said.startswith("stopped by SIGUSR1 after step ")
    assert advice == "alignkit launch out --processes 2 -- --resume"

    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", *advice.split()]
    subprocess.run(command, cwd=stopped, env=environment, check=True, capture_output=True)
    assert Launched(whole, "whole", ["--processes", "2"]).end()[0] == 0
    same_files(stopped / "out", whole / "out")
    again = subprocess.run(command, cwd=stopped, env=environment, check=True, capture_output=True, text=True)
    assert (again.stdout, again.stderr) == ("out: this run is finished; nothing is left to do\n", "")


def test_a_killed_process_ends_the_others_soon_and_is_named_once(tmp_path):
    launched = Launched(tmp_path, "killed", ["--processes", "2"], *ENDLESS)
    launched.trains()
    began = time.monotonic()
    os.kill(launched.worker(1), signal.SIGKILL)
    code, said = launched.end()
    by_the_other = "process 1 of 2 is gone: it was killed, as for want of memory, or it crashed"
    by_the_launcher = "process 1 of 2 was killed by SIGKILL before it could say why; all processes were ended"
    assert code == 137
    assert said in (by_the_other, by_the_launcher)  # whichever has seen it first
    assert time.monotonic() - began < 25  # 4 s here, 12 s with six times the load; torchrun alone waits 30
    assert launched.log.read_text().count("process 1") == 1


def test_a_process_that_never_starts_is_named(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os\nif os.environ.get('RANK') == '1': os._exit(3)\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    launched = Launched(tmp_path, "never", ["--processes", "2"], PYTHONPATH=path)
    said = "process 1 of 2 ended with exit status 3 before it could say why; all processes were ended\n"
    assert launched.process.wait(timeout=120) == 3
    assert launched.log.read_text() == said


def test_two_launchers_are_one_run_and_a_signal_to_one_ends_both(tmp_path):
    """One machine stands for two; they meet at a port of it."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        head = f"localhost:{free.getsockname()[1]}"
    options = [["--processes", "1", "--nodes", "2", "--node-rank", rank, "--head", head] for rank in "01"]
    nodes = [Launched(tmp_path, f"node{rank}", options[rank], *ENDLESS) for rank in (0, 1)]
    nodes[0].trains()
    nodes[1].process.send_signal(signal.SIGTERM)
    code, last = nodes[0].end()
    assert (code, nodes[1].process.wait(timeout=60)) == (143, 143)
    assert last.endswith(f"; go on with alignkit launch out {' '.join(options[0])} -- --resume")
    assert nodes[1].log.read_text() == ""
