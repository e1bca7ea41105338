"""A sweep that runs, fails, is stopped and goes on; the runs' processes are stand-ins but in the last tests."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from alignkit.cli import main
from alignkit.errors import RunFolderError
from alignkit.intervals import mean
from alignkit.loop.signals import Interrupted
from alignkit.sweep import children, sweep
from alignkit.sweep.record import read_sweep
from alignkit.sweep.sweep import run_sweep
from alignkit.sweep.table import Row, tables_of

TEXT = "recipe: recipe.yaml\nseeds: [0, 1]\ngrid: {losses.0.beta: [0.5, 1.0]}\nreport: [true_reward, kl]\n"
NAMES = [f"recipe-losses.0.beta={beta}-seed={seed}" for seed in (0, 1) for beta in (0.5, 1.0)]


def run(path: Path, jobs: int = 1, overrides: tuple[str, ...] = ()) -> str:
    """What a sweep in `out` prints."""
    said = io.StringIO()
    run_sweep(path, "out", jobs, overrides, Console(file=said, width=200))
    return said.getvalue()


def begun(child: Path) -> list[str]:
    return [line.split()[0] for line in (child / "begun.txt").read_text().splitlines()]


def states() -> list[str]:
    return [one.state for one in read_sweep(Path("out")).runs]


def test_all_runs_are_run_and_their_table_has_means_over_seeds(write, child):
    """Reward is .5 + .1 / beta + .01 seed: at beta .5 .70 and .71, mean .705, s / sqrt(2) = .005, t(1) = 12.706."""
    said = run(write(TEXT))
    assert begun(child) == NAMES
    assert states() == ["finished"] * 4
    table = json.loads(Path("out/table.json").read_text())
    row = table["rows"][0]
    assert (table["measures"], row["arm"], row["settings"]) == (["true_reward", "kl"], "recipe", {"losses.0.beta": 0.5})
    assert (row["seeds"], row["missing"]) == ([0, 1], 0)
    assert row["values"]["true_reward"] == pytest.approx(
        {"value": 0.705, "se": 0.005, "low": 0.64147, "high": 0.76853, "level": 0.95, "n": 2, "df": 1}, abs=1e-5
    )
    assert "[4/4] recipe-losses.0.beta=1.0-seed=1 finished (0:0" in said
    assert "0.705" in said and "sweep folder: out" in said


def test_one_seed_has_the_error_of_its_record_where_it_left_no_rows(write, child):
    run(write("recipe: recipe.yaml\nreport: [true_reward]\n"))
    (row,) = json.loads(Path("out/table.json").read_text())["rows"]
    values = row["values"]["true_reward"]
    assert (values["value"], values["n"], values["df"]) == (0.6, 1, None)
    assert values["high"] - values["value"] == pytest.approx(1.95996 * 0.02, abs=1e-5)


def test_a_table_that_is_too_wide_becomes_several():
    rows = [Row("dpo", {}, [0, 1], 0, {name: mean([0.1, 0.3]) for name in ("a" * 30, "b" * 30, "c", "nothing")})]
    tables = [*tables_of(rows, ["a" * 30, "b" * 30, "c", "not measured"], 80)]
    heads = [[str(column.header) for column in table.columns] for table in tables]
    assert heads == [["arm", "seeds", "a" * 30], ["arm", "seeds", "b" * 30, "c"]]
    assert len([*tables_of(rows, [], 80)]) == 1


def test_what_is_finished_is_left_alone_and_what_is_added_is_run(write, child):
    run(write(TEXT))
    assert "4 of 4 runs finished already; 0 to go" in run(write(TEXT))
    run(write(TEXT.replace("[0, 1]", "[0, 1, 2]")))
    assert begun(child) == [*NAMES, *(name.replace("seed=1", "seed=2") for name in NAMES[2:])]
    assert states() == ["finished"] * 6


def test_a_failed_run_takes_no_other_with_it_and_is_tried_again(write, child, capsys):
    (child / "ask.json").write_text(json.dumps({"fail": [NAMES[1]], "die": [NAMES[2]]}))
    with pytest.raises(SystemExit) as caught:
        main(["sweep", str(write(TEXT)), "--output", "out"])
    said = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 1
    assert states() == ["finished", "failed", "failed", "finished"]
    errors = [one.error for one in read_sweep(Path("out")).runs]
    assert errors == [None, "data.train: no file 'rows.jsonl'", "killed by SIGKILL; last line: step 1/2", None]
    assert f"failed: {NAMES[1]}: data.train: no file 'rows.jsonl' (log: out/logs/{NAMES[1]}.log)" in said
    assert json.loads(Path("out/table.json").read_text())["rows"][1]["missing"] == 1
    (child / "ask.json").write_text("{}")
    again = run(Path("sweep.yaml"))
    assert f"failed before, tried again: {NAMES[1]}: data.train: no file 'rows.jsonl'" in again
    assert begun(child)[4:] == NAMES[1:3]
    assert [one.error for one in read_sweep(Path("out")).runs] == [None] * 4


def test_a_signal_reaches_the_runs_and_the_sweep_says_how_to_go_on(write, child):
    (child / "ask.json").write_text(json.dumps({"stop": [NAMES[1]]}))
    with pytest.raises(Interrupted) as caught:
        run(write(TEXT), overrides=("training.steps=1",))
    assert caught.value.code == 128 + signal.SIGTERM
    assert caught.value.message == (
        "stopped by SIGTERM; 1 of 4 runs finished; go on with alignkit sweep sweep.yaml --output out --set "
        "training.steps=1"
    )
    assert Path("out/runs", NAMES[1], "checkpoint").is_file()
    assert states() == ["finished", "planned", "planned", "planned"]
    run(Path("sweep.yaml"), overrides=("training.steps=1",))
    assert begun(child) == [*NAMES[:2], *NAMES[1:]]
    assert states() == ["finished"] * 4
    assert {line.split()[2] for line in (child / "begun.txt").read_text().splitlines()} == {"True"}


def test_two_jobs_run_at_once_and_share_the_cores(write, child, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("alignkit.loop.threads.cores", lambda: 6)
    monkeypatch.setattr(sweep, "cores", lambda: 6)
    (child / "ask.json").write_text(json.dumps({"together": 2}))
    said = run(write(TEXT), jobs=2)
    assert states() == ["finished"] * 4
    assert {line.split()[1] for line in (child / "begun.txt").read_text().splitlines()} == {"3"}
    assert "2 at once, each with 3 of 6 threads (OMP_NUM_THREADS)" in said
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert children.threads(2) is None


@pytest.mark.parametrize(
    ("keep", "left"), [("all", {"checkpoints", "final"}), ("final", {"final"}), ("none", set[str]())]
)
def test_what_stays_of_a_run_is_what_the_sweep_keeps(write, child, keep, left):
    run(write(f"recipe: recipe.yaml\nkeep: {keep}\n"))
    assert {path.name for path in Path("out/runs/recipe").iterdir() if path.is_dir()} == left


def test_a_run_that_was_begun_with_another_recipe_is_refused(write, child):
    run(write(TEXT))
    Path("out/runs", NAMES[0], "recipe.yaml").write_text("training: {steps: 3}\n")
    with pytest.raises(RunFolderError) as caught:
        run(Path("sweep.yaml"))
    said = str(caught.value)
    assert said.startswith(f"out: the recipe of run {NAMES[0]} differs from the one it began with: ")
    assert "training.steps (3, now 2)" in said or "and " in said
    assert said.endswith("; undo the change or choose another --output")


def test_other_folders_are_refused(write, child):
    Path("out").mkdir()
    Path("out/notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"^out: holds files but no sweep.json"):
        run(write(TEXT))
    with pytest.raises(RunFolderError, match=r"^sweep.yaml: is a file"):
        run_sweep(Path("sweep.yaml"), "sweep.yaml")
    with pytest.raises(RunFolderError, match=r"^child: has no sweep.json"):
        read_sweep(Path("child"))


def test_a_dry_run_lists_the_runs_and_begins_none(write, child, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["sweep", str(write(TEXT)), "--dry-run"])
    lines = capsys.readouterr().out.splitlines()
    assert caught.value.code == 0
    assert lines[0] == "sweep.yaml: 4 runs, 4 of them different"
    assert lines[1] == f'{NAMES[0]}: recipe.yaml {{"losses.0.beta": 0.5, "seed": 0}}'
    assert not Path("runs").exists() and not (child / "begun.txt").exists()


def test_json_is_the_table_and_nothing_else(write, child, capsys):
    with pytest.raises(SystemExit):
        main(["sweep", str(write(TEXT)), "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads(Path("runs/sweep/table.json").read_text())


# --- real runs ---


@pytest.mark.slow
def test_a_real_run_is_measured_and_recorded(write):
    run(write("recipe: recipe.yaml\n"))
    assert states() == ["finished"]
    measures = json.loads(Path("out/table.json").read_text())["rows"][0]["values"]
    assert {"true_reward", "kl", "preference_accuracy", "nll"} <= measures.keys()
    rows = [json.loads(line) for line in Path("out/runs/recipe/samples.jsonl").read_text().splitlines()]
    after = [one for one in rows if one["moment"] == "after"]
    by_prompt = mean([one["kl"] for one in after], [one["prompt"] for one in after])
    assert measures["kl"] == pytest.approx(
        {key: getattr(by_prompt, key) for key in measures["kl"]}
    )  # with one seed the witnesses are prompts
    assert sorted(path.name for path in Path("out/runs/recipe").iterdir() if path.is_dir()) == ["final"]
    with pytest.raises(RunFolderError, match=r"training.steps \(2, now 3\); undo the change"):
        run(Path("sweep.yaml"), overrides=("training.steps=3",))


@pytest.mark.slow
def test_a_sweep_that_is_stopped_goes_on_from_the_checkpoint_of_its_run(write):
    path = write("recipe: recipe.yaml\nset: {training.steps: 150, training.save_every: null}\nkeep: all\n")
    command = [sys.executable, "-m", "alignkit", "sweep", str(path), "--output", "out"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = Path("out/runs/recipe/metrics.jsonl")
    while not (log.is_file() and log.stat().st_size):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1].startswith("stopped by SIGINT; 0 of 1 runs finished; go on with alignkit sweep ")
    assert process.returncode == 128 + signal.SIGINT
    done = len(log.read_text().splitlines())
    assert 0 < done < 150 and list(Path("out/runs/recipe/checkpoints").iterdir())
    assert subprocess.run(command, capture_output=True, check=True)
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == list(range(1, 151))  # none was taken twice
    assert len(json.loads(Path("out/runs/recipe/run.json").read_text())["resumed"]) == 1
