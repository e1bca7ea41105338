"""A pipeline as a whole: what its stages leave, and that stopping, dying and changing values do not mix them up."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import alignkit
from alignkit import pipeline, run
from alignkit.cli import main
from alignkit.engine.objective import ObjectiveStep
from alignkit.errors import CheckpointError, ModelError, RecipeError, RunFolderError
from alignkit.recipe.changes import values_of
from alignkit.recipe.load import load_recipe

RECIPE = """\
model: {name: world}
data: {train: "builtin:world", world: {pairs: 8, eval_pairs: 4}}
training: {steps: 2, batch_size: 4, learning_rate: 1.0e-3}
evaluation: {pairs: 4, samples: 0}
stages:
  sft:
    losses: [sft]
    trainer: sft
  dpo:
    losses: [dpo]
    trainer: preference
    model: {name: pretrained, path: stage:sft}
"""
STAGES = ("1-sft", "2-dpo")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with the recipe and the uninterrupted pipeline in `whole`; tests only read it."""
    folder = tmp_path_factory.mktemp("pipeline")
    before = Path.cwd()
    os.chdir(folder)
    try:
        Path("both.yaml").write_text(RECIPE)
        alignkit.run_pipeline("both.yaml", "whole", quiet=True)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(autouse=True)
def folder(shared, tmp_path, monkeypatch):
    """Every test works in a folder with the recipe and a copy of the whole pipeline."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    shutil.copytree(shared, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def command(capsys):
    def give(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        return caught.value.code, *capsys.readouterr()

    return give


def go(output, *overrides, resume=False):
    return alignkit.run_pipeline(alignkit.load_pipeline("both.yaml", overrides), output, resume=resume, quiet=True)


def losses(path):
    return [json.loads(line)["loss"] for line in (Path(path) / "metrics.jsonl").read_text().splitlines()]


def same_as_whole(path):
    for stage in STAGES:
        assert losses(Path(path, stage)) == losses(Path("whole", stage))
        for file in ("final/model.safetensors", "eval.json"):
            assert Path(path, stage, file).read_bytes() == Path("whole", stage, file).read_bytes()
    return Path(path, "DONE").is_file()


def stop_at(monkeypatch, calls, act):
    """`act` happens in the loss after so many; a stage takes two."""
    real, left = ObjectiveStep.loss, [calls]

    def counted(self, *arguments):
        if left[0] == 0:
            act()
        left[0] -= 1
        return real(self, *arguments)

    monkeypatch.setattr(ObjectiveStep, "loss", counted)


def test_each_stage_leaves_a_run_folder_and_the_next_begins_with_its_model():
    assert {path.name for path in Path("whole").iterdir()} == {".lock", ".holder", "recipe.yaml", "DONE", *STAGES}
    of_all = values_of(Path("whole/recipe.yaml").read_bytes(), "recipe")["stages"]
    for stage in STAGES:
        alone = values_of(Path("whole", stage, "recipe.yaml").read_bytes(), "recipe")
        path = alone["model"].pop("path", None)
        assert (path, of_all[stage[2:]]["model"].pop("path", None)) in (
            (None, None),
            ("whole/1-sft/final", "stage:sft"),
        )
        assert alone == of_all[stage[2:]] and Path("whole", stage, "DONE").is_file()
    assert load_recipe("whole/2-dpo/recipe.yaml").recipe.model.path == "whole/1-sft/final"
    start, end = (load_file(f"whole/{stage}/final/model.safetensors") for stage in STAGES)
    moved = max(float((start[key] - end[key]).abs().max()) for key in start)
    assert 0 < moved < 3e-3  # two steps of 1e-3 away from where the first stage ended


def test_a_signal_in_the_second_stage_is_told_with_the_way_on_and_changes_nothing(monkeypatch, command):
    with monkeypatch.context() as patched:
        stop_at(patched, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        code, out, _ = command("run", "both.yaml", "--output", "cut")
    assert code == 143
    assert out.splitlines()[-1] == "stopped by SIGTERM after step 1; go on with alignkit run cut --resume"
    assert not Path("cut/DONE").exists() and losses("cut/2-dpo") == losses("whole/2-dpo")[:1]
    first = Path("cut/1-sft/run.json").read_bytes()
    code, out, _ = command("run", "cut", "--resume")
    assert code == 0 and same_as_whole("cut")
    assert out.splitlines()[:3] == [
        "stage 1 of 2: sft",
        "cut/1-sft: this run is finished; nothing is left to do",
        "stage 2 of 2: dpo",
    ]
    assert Path("cut/1-sft/run.json").read_bytes() == first
    assert len(json.loads(Path("cut/2-dpo/run.json").read_text())["resumed"]) == 1


def test_a_death_between_two_stages_changes_nothing(monkeypatch):
    class Death(BaseException):
        pass

    def die(*arguments, **keywords):
        raise Death

    real = pipeline.run_stage
    with monkeypatch.context() as patched, pytest.raises(Death):
        stages = iter([real, die])
        patched.setattr(pipeline, "run_stage", lambda *arguments, **named: next(stages)(*arguments, **named))
        go("cut")
    assert not Path("cut/2-dpo").exists() and not Path("cut/DONE").exists()
    go("cut", resume=True)
    assert same_as_whole("cut")


@pytest.mark.parametrize(
    ("stage", "advice"), [("sft", "nothing was trained"), ("dpo", "go on with alignkit run cut --resume")]
)
def test_a_signal_while_something_loads_names_the_stage(stage, advice, monkeypatch, command):
    real = run.load_parts

    def stopped(loaded, *arguments):
        if loaded.stage == stage:
            os.kill(os.getpid(), signal.SIGINT)
        return real(loaded, *arguments)

    monkeypatch.setattr(run, "load_parts", stopped)
    code, _, err = command("run", "both.yaml", "--output", "cut")
    assert (code, err) == (130, f"stopped by SIGINT in stage '{stage}'; {advice}\n")
    assert Path("cut").exists() == (stage == "dpo")


def test_a_finished_pipeline_has_nothing_left_to_do_however_it_is_called(folder, command):
    kept = {path: path.stat().st_mtime_ns for path in Path("whole").rglob("*") if path.name != ".holder"}
    for name in ("whole", str(folder / "whole"), "./whole/"):
        code, out, err = command("run", name, "--resume")
        assert (code, err) == (0, "") and out.count("nothing is left to do") == 2
    assert {path: path.stat().st_mtime_ns for path in Path("whole").rglob("*") if path.name != ".holder"} == kept


def test_a_pipeline_goes_on_from_another_working_folder_and_in_another_place(folder, monkeypatch):
    def die():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 3, die)
        go("cut")
    recorded = Path("cut/2-dpo/recipe.yaml").read_bytes()
    (folder / "moved").mkdir()
    Path("cut").rename("moved/cut")
    monkeypatch.chdir(folder / "moved")
    alignkit.run_pipeline(alignkit.load_pipeline("cut/recipe.yaml"), "cut", resume=True, quiet=True)
    assert Path("cut/2-dpo/recipe.yaml").read_bytes() == recorded
    monkeypatch.chdir(folder)
    assert same_as_whole("moved/cut")


def test_another_value_is_refused_before_anything_is_touched():
    kept = {path: path.read_bytes() for path in Path("whole").rglob("*") if path.is_file() and path.name != ".holder"}
    again = "undo the change or choose another --output"
    for override, said in (
        ("seed=1", "the recipe differs from the one the run began with: stages.sft.seed (0, now 1), stages.dpo.seed "),
        (
            "stages.dpo.losses.0.beta=0.5",
            "the recipe differs from the one the run began with: stages.dpo.losses.0.beta (0.1, now 0.5); " + again,
        ),
        (
            "stages.sft.training.steps=3",
            f"stages.sft.training.steps (2, now 3): stage 'dpo' has begun from that result; {again}",
        ),
        ("~stages.dpo", f"the stages were sft, dpo and are sft now; {again}"),
    ):
        with pytest.raises(RunFolderError) as caught:
            go("whole", override, resume=True)
        assert str(caught.value).startswith(f"whole: cannot resume: {said}")
    with pytest.raises(RunFolderError, match=r"^whole: holds a finished run; add --resume to "):
        go("whole")
    with pytest.raises(RunFolderError, match=r"^whole/1-sft: holds a single run and no pipeline; "):
        go("whole/1-sft", resume=True)
    assert {path: path.read_bytes() for path in kept} == kept


def test_the_last_stage_is_extended_and_the_record_says_so():
    with pytest.raises(CheckpointError):  # of the steps that were made some would have had another learning rate
        go("whole", "stages.dpo.training.steps=20", resume=True)
    assert Path("whole/DONE").is_file() and "steps: 20" not in Path("whole/recipe.yaml").read_text()
    constant = ("training.schedule=constant", "training.warmup=0.0")
    go("longer", *constant)
    go("longer", *constant, "stages.dpo.training.steps=3", resume=True)
    assert len(losses("longer/2-dpo")) == 3 and Path("longer/DONE").is_file()
    assert alignkit.load_pipeline("longer/recipe.yaml").stages["dpo"].recipe.training.steps == 3


def test_a_mistake_in_the_first_stage_leaves_nothing():
    with pytest.raises(ModelError):
        go("new", "stages.sft.model={name: pretrained, path: nowhere}")
    assert not Path("new").exists()


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_processes_that_do_not_fit_a_later_stage_are_told_before_the_first(command, options):
    given = "stages.dpo.parallel={strategy: fsdp}"
    code, out, err = command("run", "both.yaml", "--output", "new", "--set", given, *options)
    assert (code, "loading data" in out, Path("new").exists()) == (2, False, False)
    assert err == (
        f"--set {given}: stages.dpo.parallel.strategy: 'fsdp' cuts the model into pieces for several processes, and "
        "there is one; start more (alignkit launch RECIPE --processes 2), or give 'ddp'\n"
    )


def test_a_finished_pipeline_does_not_ask_how_many_processes_there_are(monkeypatch):
    for place in ("alignkit.pipeline", "alignkit.run"):
        monkeypatch.setattr(f"{place}.num_processes", lambda: 9)
    go("whole", resume=True)
    with pytest.raises(RecipeError, match="expected at least 9, a row for each process"):
        go("new")


def test_a_dry_run_says_what_it_did_not_check_and_writes_nothing(command):
    before = sorted(Path().rglob("*"))
    code, out, err = command("run", "both.yaml", "--dry-run")
    assert (code, err) == (0, "") and sorted(Path().rglob("*")) == before
    lines = out.splitlines()
    assert lines[0] == "stage 1 of 2: sft"
    assert lines[-3].startswith("dry run: not computed: ")
    assert lines[-2:] == [
        "stage 2 of 2: dpo",
        "dry run: only the recipe was checked; a dry run leaves no model of stage 'sft' to load",
    ]


def test_the_models_of_a_stage_are_gone_when_the_next_begins(monkeypatch):
    made, alive = [], []
    real = run.build_policy

    def build(*arguments, **named):
        alive.append(sum(model() is not None for model in made))
        policy = real(*arguments, **named)
        made.append(weakref.ref(policy.model))
        return policy

    monkeypatch.setattr(run, "build_policy", build)
    gc.disable()  # nothing but the pipeline itself may clear what stands in circles
    try:
        go("new", "stages.sft.model.adapter={rank: 2}")
    finally:
        gc.enable()
    assert alive == [0, 0]


def test_from_python_a_pipeline_gives_a_result_for_each_stage():
    results = go("whole", resume=True)
    assert list(results) == ["sft", "dpo"] and all(result.finished for result in results.values())
    assert results["dpo"].folder == Path("whole/2-dpo") and len(results["dpo"].metrics) == 2
    model, _ = results["dpo"].load_model()
    saved = load_file("whole/2-dpo/final/model.safetensors")
    assert torch.equal(dict(model.named_parameters())["model.norm.weight"], saved["model.norm.weight"])
