"""A recorded run once more: what went in is checked first, and what comes of it is compared bit for bit."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import alignkit
from alignkit import reproduce
from alignkit.cli import main

RECIPE = """\
model: {name: world}
data: {train: "rows.jsonl", holdout: 4}
losses: [dpo]
trainer: preference
training: {steps: 2, batch_size: 4, learning_rate: 1.0e-3, eval_every: 2}
evaluation: {pairs: 4, samples: 0}
"""
CHECKED = ["data: as it was", "template: as it was", "model: as it was"]


def rows(advice):
    """Questions about twelve pairs of plants, in words that the world's model knows."""
    asked = [f"{one} {other}" for one in ("fig", "basil", "ivy") for other in ("mint", "moss", "lily", "cactus")]
    pairs = [{"prompt": f"What helps a {plant}?", "chosen": advice, "rejected": "water it more"} for plant in asked]
    Path("rows.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with a recorded run; tests only read it."""
    folder = tmp_path_factory.mktemp("reproduce")
    before = Path.cwd()
    os.chdir(folder)
    try:
        Path("recipe.yaml").write_text(RECIPE)
        rows("rinse the soil")
        alignkit.run("recipe.yaml", "first", quiet=True)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def folder(shared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    shutil.copytree(shared, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def command(capsys):
    def give(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(["reproduce", *arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out.splitlines(), err

    return give


def change(name, edit):
    """Edits a record of the first run."""
    path = Path("first") / name
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def test_the_same_bits_come_of_it_in_a_new_folder(command):
    kept = {path: path.read_bytes() for path in Path("first").rglob("*") if path.is_file()}
    code, lines, err = command("first")
    assert (code, err) == (0, "")
    assert lines[:3] == CHECKED and lines[-1] == "the same bits: metrics, evaluations and weights"
    assert (Path("runs/first-again/DONE")).is_file()
    assert {path: path.read_bytes() for path in kept} == kept


@pytest.mark.slow
def test_a_run_that_samples_is_the_same_too(command):
    """Its log has the time that drawing took, which is another each time."""
    settings = {"training.steps": 1, "training.batch_size": 2, "sampler.responses": 2, "sampler.max_new_tokens": 4}
    settings |= {"rewards": [{"name": "repetition", "n": 1}], "evaluation.samples": 2}
    alignkit.run(alignkit.load_recipe("alignkit:methods/dr_grpo", settings), "sampled", quiet=True)
    code, lines, _ = command("sampled", "--output", "again")
    assert (code, lines[-1]) == (0, "the same bits: metrics, evaluations and weights")


def test_a_check_trains_nothing(command):
    before = sorted(Path().rglob("*"))
    assert command("first", "--check") == (0, CHECKED, "")
    assert sorted(Path().rglob("*")) == before


def test_other_data_stops_before_anything_is_trained(command):
    then = json.loads(Path("first/run.json").read_text())["fingerprints"]["data"]
    rows("rinse the soil and wait")
    code, lines, err = command("first", "--output", "second")
    assert code == 2 and not Path("second").exists()
    assert lines[0].startswith(f"data: fingerprint {then} then, ") and lines[1:] == CHECKED[1:]
    assert err == (
        "first: cannot be reproduced: other data than the run had; bring back what changed, or add --anyway to run it "
        "all the same\n"
    )
    assert command("first", "--check")[0] == 1
    code, lines, _ = command("first", "--output", "second", "--anyway")
    assert code == 1 and Path("second/DONE").is_file()
    metrics, evaluations, weights = lines[-3:]
    assert metrics.startswith("metrics: the same until step ") and " lines differ; largest difference " in metrics
    assert evaluations.startswith("evaluations: ")
    assert weights == "weights: final/model.safetensors is not the same"


def test_other_versions_and_another_machine_are_said_and_do_not_stop(command):
    def other(record):
        record["versions"] |= {"torch": "1.0", "tiny": "0.1"}
        record["platform"] = "Elsewhere"
        record["resumed"] = [
            {**record, "versions": record["versions"] | {"peft": "0"}, "changes": {"seed": "1, now 0"}}
        ]

    change("run.json", other)
    Path("first/DONE").unlink()
    here = reproduce.versions()
    code, lines, err = command("first", "--check")
    assert (code, err) == (1, "")
    assert lines == [
        f"version of torch: 1.0 then, {here['torch']} now",
        "version of tiny: 0.1 then, not here now",
        f"platform: Elsewhere then, {reproduce.platform.platform()} now",
        "first: that run is not finished; what it has is compared",
        "first: session 2 of that run had another seed (1, now 0), another version of peft",
        *CHECKED,
    ]


CLOCKS = ("seconds", "rollout_seconds")


def result(folder, losses, margin):
    """A recorded run with these losses and this margin afterwards."""
    Path(folder, "final").mkdir(parents=True)
    log = [{"step": step, "loss": loss, **dict.fromkeys(CLOCKS, len(folder))} for step, loss in enumerate(losses, 1)]
    Path(folder, "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in log))
    Path(folder, "eval.json").write_text(json.dumps({"after": {"margin": margin, "kl": None}}))
    Path(folder, "final", "model.safetensors").write_bytes(folder.encode()[:3])
    return alignkit.RunResult(Path(folder))


def test_what_differs_is_told_from_its_first_step_with_the_largest_difference():
    old = result("old", [0.5, 0.25, 0.125], 1.0)
    assert list(reproduce._outcome(old, result("old2", [0.5, 0.25, 0.125, 0.1], 1.0))) == []
    assert list(reproduce._outcome(old, result("new", [0.5, 0.375, 0.625], 3.0))) == [
        "metrics: the same until step 2, where loss was 0.25 and is 0.375; 2 of 3 lines differ; largest difference "
        "0.5, of loss at step 3",
        "evaluations: 1 of 2 values differ; largest difference 2, of margin after training",
        "weights: final/model.safetensors is not the same",
    ]
    (short, *_) = reproduce._outcome(old, result("short", [0.5], 1.0))
    assert short.startswith(
        "metrics: the same until step 2, where loss was 0.25 and is not there; 2 of 3 lines differ;"
    )


def test_what_is_no_run_folder(command):
    assert command(".") == (2, [], ".: is no run folder, it holds no run.json; give one\n")
    assert command("gone") == (2, [], "gone: is no run folder, it holds no recipe.yaml; give one\n")
    Path("recipe.yaml").write_text(RECIPE + "stages: {a: {}, b: {seed: 1}}\n")
    assert command(".") == (
        2,
        [],
        ".: holds a pipeline; reproduce its stages one by one: 1-a and 2-b\n",
    )
