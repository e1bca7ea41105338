"""`alignkit launch` as it is typed; that it starts and stops processes is in tests/launch/test_processes.py."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
import yaml

from alignkit.launch.placement import Placement
from alignkit.launch.start import words

RECIPE = {
    "model": {"name": "world", "start": "random"},
    "data": {"train": "builtin:world", "world": {"pairs": 4, "eval_pairs": 2}},
    "losses": [{"name": "dpo"}],
    "trainer": "preference",
    "training": {"steps": 1, "batch_size": 2, "learning_rate": 0.001},
    "evaluation": {"pairs": 2, "samples": 0, "report": False},
}


@pytest.fixture
def launch(said, monkeypatch):
    """Runs the verb on `r.yaml`."""
    for variable in ("OMP_NUM_THREADS", "SLURM_JOB_NODELIST", "SKYPILOT_NODE_IPS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("alignkit.loop.threads.cores", lambda: 6)
    Path("r.yaml").write_text(yaml.safe_dump(RECIPE))
    return lambda *arguments: said("launch", "r.yaml", *arguments)


def test_the_line_is_printed_and_nothing_started(launch):
    code, out, err = launch("--processes", "2", "--print", "--", "--set", "losses=[{name: ipo, beta: 0.1}]")
    assert (code, err) == (0, "")
    arguments = ["r.yaml", "--set", "losses=[{name: ipo, beta: 0.1}]"]
    assert shlex.split(out) == ["OMP_NUM_THREADS=3", *words(Placement(2), arguments)]
    assert sorted(path.name for path in Path().iterdir()) == ["r.yaml"]


def test_an_allocation_is_read_from_the_environment(launch, monkeypatch):
    for variable, value in (("NODE_IPS", "10.0.0.4\n10.0.0.5"), ("NODE_RANK", "1"), ("NUM_GPUS_PER_NODE", "1")):
        monkeypatch.setenv(f"SKYPILOT_{variable}", value)
    assert shlex.split(launch("--print")[1]) == words(Placement(1, 2, 1, "10.0.0.4"), ["r.yaml"])


def test_one_process_is_a_plain_run(launch, monkeypatch):
    assert shlex.split(launch("--print", "--processes", "1")[1]) == [sys.executable, "-m", "alignkit", "run", "r.yaml"]
    asked = []
    monkeypatch.setattr("alignkit.run.run", lambda loaded, *others: asked.append((loaded.recipe.seed, *others)))
    arguments = ("--set", "seed=7", "--output", "out", "--resume")
    assert launch("--processes", "1", "--", *arguments) == (0, "", "")
    assert asked == [(7, Path("out"), True, False)]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--processes", "3"],
            "r.yaml:17: training.batch_size: expected at least 3, a row for each process of the run, got 2; "
            "or start fewer",
        ),
        (
            ["--set", "seed=1"],
            "alignkit launch: no such option --set; what is for alignkit run comes after --, such as: "
            "alignkit launch RECIPE -- --set",
        ),
        (["--", "--resum"], "alignkit launch: no such option --resum; did you mean --resume?"),
        (
            ["--", "--set", "trainer=kto"],
            "--set trainer=kto: trainer: 'kto' is a loss, not a trainer; ",
        ),
        (["--nodes", "2"], "--node-rank and --head: missing; several nodes need all of "),
        (
            ["--processes", "2", "--", "--set", "parallel={strategy: fsdp, shard: 3}"],
            "--set parallel={strategy: fsdp, shard: 3}: parallel.shard: 3 given, but 2 processes run; ",
        ),
        (
            ["--write", "slurm", "x.sh", "--processes", "2", "--head", "a:1"],
            "--write: --processes 2 --head a:1 has no place in a job file, where Slurm or SkyPilot say it; give "
            "--nodes and --gpus-per-node\n",
        ),
        (["--write", "slurm", "x.sh"], "r.yaml:17: training.batch_size: expected at least 8, "),
    ],
)
def test_a_mistake_is_told_before_anything_starts(launch, arguments, complaint):
    code, out, err = launch("--print", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(complaint)


def test_a_job_file_is_written_and_says_what_to_edit(launch):
    code, out, err = launch(
        *("--write", "slurm", "job.sh", "--nodes", "2", "--gpus-per-node", "1", "--time", "3:00:00"),
        *("--", "--set", "seed=1"),
    )
    assert (code, err) == (0, "")
    assert out == "job.sh: written; edit partition, account, time and the environment; then sbatch it\n"
    assert "alignkit launch r.yaml -- --set seed=1 --output runs/r --resume\n" in Path("job.sh").read_text()
    again = ("--write", "slurm", "job.sh", "--gpus-per-node", "1")
    assert launch(*again)[0] == 2
    assert launch(*again, "--force")[0] == 0
