"""Whole runs: what they leave behind, and that dying, stopping and splitting do not change the result."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.cli import main
from alignkit.errors import CheckpointError, DataError, RunFolderError
from alignkit.models.scorer import Scorer
from alignkit.recipe.load import load_recipe
from alignkit.run import run

SCENARIOS = Path(__file__).with_name("run_scenarios.py")


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """The folder of all scenarios, run once."""
    folder = tmp_path_factory.mktemp("runs")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    outcome = subprocess.run(
        [sys.executable, str(SCENARIOS), str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return folder


def metrics_of(folder: Path) -> list[dict[str, float]]:
    """The lines of `metrics.jsonl` without what a clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_a_run_leaves_its_record(runs: Path):
    whole = runs / "whole"
    names = {path.name for path in whole.iterdir() if not path.name.startswith(".")}
    of_evaluation = {"eval.json", "eval_rows.jsonl", "samples.jsonl", "token_rows.jsonl", "report.html"}
    assert names == of_evaluation | {"DONE", "checkpoints", "final", "metrics.jsonl", "recipe.yaml", "run.json"}
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["step-00000006", "step-00000007"]
    lines = metrics_of(whole)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    expected = {"loss", "loss/weighted_dpo", "loss/triplet", "rewards/chosen", "rewards/rejected", "rewards/margins"}
    expected |= {
        "rewards/accuracies",
        "logps/chosen",
        "logps/rejected",
        "weights/ess",
        "weights/max",
        "grad_norm",
        "lr",
    }
    assert expected <= lines[0].keys()
    # At the start every log-ratio is 0: DPO's loss is ln 2, the triplet's its margin (methods.md 8.3).
    assert lines[0]["loss/weighted_dpo"] == pytest.approx(0.693147, abs=1e-5)
    assert lines[0]["loss/triplet"] == pytest.approx(0.01, abs=1e-5)
    assert lines[0]["loss"] == pytest.approx(0.694147, abs=1e-5)


def test_the_evaluation_is_recorded(runs: Path):
    recorded = json.loads((runs / "whole" / "eval.json").read_text())
    before, after = recorded["before"], recorded["after"]
    assert before["preference_accuracy"] == 0.5  # every pair is a tie
    assert before["margin"] == pytest.approx(0, abs=1e-5) and before["kl"] == pytest.approx(0, abs=1e-5)
    assert {"true_reward", "true_reward_se", "weight_auc", "kl_se", "pairs", "samples"} <= before.keys() == after.keys()
    assert after["kl"] > 0.001
    change = recorded["change"]
    assert change["margin"] == pytest.approx(after["margin"] - before["margin"], abs=1e-6)
    assert change["true_reward_se"] is not None and change.keys() >= {"preference_accuracy", "margin_se", "nll", "kl"}


def test_the_model_before_training_need_not_be_measured(runs: Path, tmp_path: Path):
    """What is measured after it is the same."""
    folders = [tmp_path / "with", tmp_path / "without"]
    for folder, before in zip(folders, ("true", "false"), strict=True):
        settings = (f"evaluation.before={before}", "training.steps=1", "evaluation.report=false")
        run(load_recipe(runs / "recipe.yaml", settings), folder)
    whole, after_alone = (json.loads((folder / "eval.json").read_text()) for folder in folders)
    assert after_alone == {"after": whole["after"], "change": {}}
    assert {json.loads(line)["moment"] for line in (folders[1] / "samples.jsonl").read_text().splitlines()} == {"after"}


def test_rows_and_samples_are_recorded(runs: Path):
    for name, number in (("token_rows.jsonl", 4), ("eval_rows.jsonl", 4), ("samples.jsonl", 2)):
        lines = [json.loads(line) for line in (runs / "whole" / name).read_text().splitlines()]
        moments = [(line["moment"], line["row"]) for line in lines]
        assert moments == [(moment, row) for moment in ("before", "after") for row in range(number)]
    assert lines[0].keys() == {
        "moment",
        "row",
        "where",
        "prompt",
        "response",
        "sample_tokens",
        "kl",
        "kl_first",
        "kl_advice",
        "kl_elsewhere",
        "true_reward",
        "wrong_advice",
        "banned_word",
        "malformed",
    }


def test_the_model_card_says_what_the_model_is(runs: Path):
    card = (runs / "whole" / "final" / "README.md").read_text()
    assert (runs / "whole" / "recipe.yaml").exists() and "learning_rate: 0.001" in card
    assert "| loss | `weighted_dpo` | " in card and "builtin:world: 40 of 40 rows used" in card
    assert "| preference accuracy | 0.500 +-0.000 | " in card and "More Information Needed" not in card


def test_the_recipe_in_the_folder_makes_the_same_recipe(runs: Path):
    again = load_recipe(runs / "whole" / "recipe.yaml").recipe
    assert again == load_recipe(runs / "recipe.yaml").recipe


def test_the_final_model_loads_with_transformers(runs: Path):
    model = transformers.AutoModelForCausalLM.from_pretrained(runs / "whole" / "final")
    tokenizer = transformers.AutoTokenizer.from_pretrained(runs / "whole" / "final")
    last = transformers.AutoModelForCausalLM.from_pretrained(
        runs / "whole" / "checkpoints" / "step-00000007" / "model", dtype=model.dtype
    )
    ours = dict(last.named_parameters())
    assert ours and all(torch.equal(dict(model.named_parameters())[name], tensor) for name, tensor in ours.items())
    assert tokenizer.eos_token_id == model.config.eos_token_id


@pytest.mark.parametrize(
    "name",
    ["within_a_step", "while_anchors_are_drawn", "within_a_save", "terminated", "terminated_while_measuring"],
)
def test_an_interrupted_run_is_the_uninterrupted_one(runs: Path, name: str):
    assert metrics_of(runs / name) == metrics_of(runs / "whole")
    for file in ("final/model.safetensors", "eval.json", "eval_rows.jsonl", "samples.jsonl", "token_rows.jsonl"):
        assert (runs / name / file).read_bytes() == (runs / "whole" / file).read_bytes()


@pytest.mark.parametrize(
    ("base", "name"),
    [*(("whole", name) for name in ("one_by_8", "eight_by_1", "two_by_4")), ("kto", "kto_two_by_4")],
)
def test_how_a_step_is_split_does_not_matter(runs: Path, base: str, name: str):
    whole, split = metrics_of(runs / base), metrics_of(runs / name)
    for ours, theirs in zip(whole, split, strict=True):
        if ours["step"] <= 2:  # the first learning rate is 0, so until step 2 each pair is a tie that rounding decides
            ours, theirs = ({k: v for k, v in line.items() if k != "rewards/accuracies"} for line in (ours, theirs))
        assert theirs == pytest.approx(ours, rel=2e-4, abs=2e-5)
    weights, others = (load_file(runs / folder / "final" / "model.safetensors") for folder in (base, name))
    # Adam divides by the gradient's size, so where that is rounding noise a step may differ by up to a learning rate.
    worst = max(float((weights[key] - others[key]).abs().max()) for key in weights)
    assert worst < 2e-4


def test_an_interrupted_adapter_is_the_uninterrupted_one(runs: Path):
    assert metrics_of(runs / "lora_terminated") == metrics_of(runs / "lora")
    for file in ("final/adapter_model.safetensors", "eval.json"):
        assert (runs / "lora_terminated" / file).read_bytes() == (runs / "lora" / file).read_bytes()


def test_a_training_is_not_repeated_for_its_evaluation(runs: Path):
    """The signal came after the last step; one session trained, the next one measured."""
    record = json.loads((runs / "terminated_while_measuring" / "run.json").read_text())
    assert len(record["resumed"]) == 1
    checkpoint = runs / "terminated_while_measuring" / "checkpoints" / "step-00000007" / "manifest.json"
    assert checkpoint.stat().st_mtime < datetime.fromisoformat(record["resumed"][0]["started"]).timestamp() + 1


def test_a_finished_run_is_extended_as_if_it_had_been_planned_so(runs: Path):
    """6 steps, then a seventh: the weights and the log of 7 steps at once, and a record of both."""
    extended, straight = runs / "extended", runs / "straight"
    assert metrics_of(extended) == metrics_of(straight)
    for file in ("final/model.safetensors", "eval.json"):
        assert (extended / file).read_bytes() == (straight / file).read_bytes()
    record = json.loads((extended / "run.json").read_text())
    assert record["resumed"][0]["changes"] == {"training.steps": "6, now 7", "training.save_every": "2, now 1"}
    assert record["ended"] + "\n" == (extended / "DONE").read_text()
    assert load_recipe(extended / "recipe.yaml").recipe.training.steps == 7


def test_a_schedule_that_would_change_the_past_is_refused_and_leaves_the_record(runs: Path, tmp_path: Path):
    run_folder = tmp_path / "run"
    shutil.copytree(runs / "whole", run_folder)
    kept = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file() and path.name != ".holder"}
    recipe = load_recipe(runs / "recipe.yaml", ["training.micro_batch_size=4", "training.steps=14"])
    with pytest.raises(CheckpointError) as error:
        run(recipe, run_folder, True, False)
    assert str(error.value) == (
        f"{run_folder}/checkpoints/step-00000007: cannot go on to step 14: cosine over 14 steps with a warm-up of 2 "
        "has other learning rates than cosine over 7 steps with a warm-up of 1: 0.0005 at step 2, where 0.001 was "
        "used; undo the change, or start a new run"
    )
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_checkpoint_is_a_model_to_train_on(runs: Path, tmp_path: Path):
    """Of all parameters, and of an adapter on them: an earlier step can be judged, shipped and trained on."""
    model = runs / "whole" / "checkpoints" / "step-00000006" / "model"
    for name in ("adapter", "again"):
        values = [f"model={{name: pretrained, path: {model}}}"]
        if name == "adapter":
            values.append("model.adapter={rank: 2, alpha: 4}")
        assert run(small(runs / "recipe.yaml", *values), tmp_path / name, False, False).folder == tmp_path / name
        model = tmp_path / name / "checkpoints" / "step-00000001" / "model"
        assert (model / "adapter_config.json").exists()


def test_a_run_folder_stands_for_its_recipe(runs: Path, capsys):
    """What the message after a signal tells to type, here on a run that has nothing left to do."""
    with pytest.raises(SystemExit) as end:
        main(["run", str(runs / "whole"), "--resume"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"{runs / 'whole'}: this run is finished; nothing is left to do\n"


def test_another_output_for_a_run_folder_is_refused(runs: Path, tmp_path: Path, capsys):
    with pytest.raises(SystemExit):
        main(["run", str(runs / "whole"), "--resume", "--output", str(tmp_path / "x")])
    assert capsys.readouterr().err == (
        f"{runs / 'whole'}: is a run folder itself; leave out --output, or give {runs / 'whole' / 'recipe.yaml'} to "
        "run it anew\n"
    )


def small(recipe: Path, *overrides: str) -> object:
    values = ["training.steps=1", "data.world.pairs=8", "data.world.eval_pairs=4", *overrides]
    return load_recipe(recipe, values)


def test_lora_ends_in_an_adapter_folder(runs: Path, tmp_path: Path):
    path = run(small(runs / "recipe.yaml", "model.adapter={rank: 2, alpha: 4}"), tmp_path / "lora", False, False).folder
    assert path is not None
    config = peft.PeftConfig.from_pretrained(str(path / "final"))
    assert (config.r, config.lora_alpha) == (2, 4)
    assert len(load_file(path / "final" / "adapter_model.safetensors")) == 2 * 2 * 7  # A and B, 2 layers, 7 linears
    card = (path / "final" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n") and "More Information Needed" not in card


def test_a_dry_run_writes_nothing(runs: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(small(runs / "recipe.yaml"), None, False, True).folder is None
    assert list(tmp_path.iterdir()) == []
    shown = capsys.readouterr().out
    assert "builtin:world: 8 of 8 rows used" in shown and "chosen (" in shown


DPO = ("losses=[dpo]", "weighting=uniform", "data.world.pairs=40", "training.micro_batch_size=4")


@pytest.fixture
def scored(monkeypatch, tmp_path) -> list[int]:
    """Numbers of rows that the reference scored beforehand, pass by pass; what is kept goes to an empty folder."""
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    counts: list[int] = []
    real = ReferenceLogps.compute

    def compute(self, rows, bench):
        counts.append(len(rows))
        return real(self, rows, bench)

    monkeypatch.setattr(ReferenceLogps, "compute", compute)
    return counts


def test_a_dry_run_scores_a_few_rows_only(runs: Path, tmp_path: Path, scored, monkeypatch, capsys):
    """Those of the check, by the model itself, after the row is shown; it says what it left out."""
    monkeypatch.chdir(tmp_path)
    forward, rows = Scorer.forward, []

    def counted(self, batch, want):
        rows.append(batch.mask_BRT.shape[0])
        return forward(self, batch, want)

    monkeypatch.setattr(Scorer, "forward", counted)
    run(small(runs / "recipe.yaml", *DPO), None, False, True)
    assert scored == [] and max(rows) == 4 and not (tmp_path / "cache").exists()
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == (
        "dry run: checked on 4 rows; not computed: log-probs of the reference (12 rows), evaluation, training; nothing "
        "was written"
    )
    assert shown.index("recipe ") < shown.index("data ") < shown.index("prompt (") < shown.index("dry run: ")


def test_only_rows_that_are_visited_or_evaluated_are_scored_beforehand(runs: Path, tmp_path: Path, scored):
    """4 held-out rows and 8 of a step, in whole batches of 2; a run of 3 steps adds 16, one of 9 all that is left."""
    for number, (steps, computed) in enumerate(((1, [12]), (1, [12]), (3, [12, 16]), (9, [12, 16, 16]))):
        recipe = small(runs / "recipe.yaml", *DPO, f"training.steps={steps}", "evaluation.batch_size=2")
        run(recipe, tmp_path / str(number), False, False)
        assert scored == computed
    assert len(list((tmp_path / "cache" / "values").iterdir())) == 1


def test_what_was_kept_by_another_run_does_not_change_the_result(runs: Path, tmp_path: Path, scored, monkeypatch):
    """Not in the last bit: a run on values that a shorter run began is the run on none."""
    long = ("training.steps=3", "evaluation.batch_size=2")
    run(
        small(runs / "recipe.yaml", *DPO, "training.steps=1", "evaluation.batch_size=2"),
        tmp_path / "short",
        False,
        False,
    )
    run(small(runs / "recipe.yaml", *DPO, *long), tmp_path / "after", False, False)
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "other"))
    run(small(runs / "recipe.yaml", *DPO, *long), tmp_path / "alone", False, False)
    assert metrics_of(tmp_path / "after") == metrics_of(tmp_path / "alone")


def test_the_first_step_ties(runs: Path, tmp_path: Path, scored):
    """Policy and reference are the same, so no pair is right or wrong yet."""
    path = run(small(runs / "recipe.yaml", *DPO), tmp_path / "run", False, False).folder
    assert path is not None and metrics_of(path)[0]["rewards/accuracies"] == 0.5


def test_a_run_says_what_it_does_before_it_loads_anything(runs: Path, tmp_path: Path, monkeypatch, capsys):
    def load(*arguments, **keywords):
        raise DataError("stop here")

    monkeypatch.setattr("alignkit.run.load_tables", load)
    with pytest.raises(DataError):
        run(small(runs / "recipe.yaml", *DPO), tmp_path / "out", False, False)
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert [name for name in names if name in ("recipe", "method", "folder", "loading", "data")] == [
        "recipe",
        "method",
        "folder",
        "loading",
    ]


def test_the_end_shows_samples_and_no_heatmap_of_uniform_weights(runs: Path, tmp_path: Path, scored, capsys):
    run(small(runs / "recipe.yaml", *DPO), tmp_path / "run", False, False)
    shown = capsys.readouterr().out
    assert "Sampled responses, 2 of 2; all are in samples.jsonl" in shown and "\nafter   " in shown
    assert "weights of" not in shown


def test_without_held_out_rows_a_row_with_values_is_shown(runs: Path, tmp_path: Path, scored, capsys):
    """Of 40 rows 8 are visited, and only those have cached log-probs."""
    data = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"{n} + 1 = ", "chosen": f"{n + 1}.", "rejected": f"{n} or so!"} for n in range(40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = (
        "model={name: scratch, layers: 1, width: 16, heads: 2, vocab_size: 512}",
        "data.holdout=0",
        "weighting=prior",
    )
    overrides = [f"data={{train: {data}}}", "data.world=null", *more, *DPO[:1], "training.steps=1"]
    run(load_recipe(runs / "recipe.yaml", [*overrides, "evaluation.batch_size=8"]), tmp_path / "run", False, False)
    assert scored == [8]
    assert "weights of prior on a chosen response (rows.jsonl:" in capsys.readouterr().out


def test_evaluating_rows_that_were_truncated_goes_on(runs: Path, tmp_path: Path, scored):
    """At 15 tokens the advice of some responses is cut off."""
    cut = ("data.max_length=15", "data.on_overflow=truncate_response", "data.on_bad_row=drop", "weighting=prior")
    recipe = small(runs / "recipe.yaml", *DPO[:1], *cut, "data.world.eval_pairs=40", "evaluation.pairs=40")
    path = run(recipe, tmp_path / "run", False, False).folder
    assert path is not None
    before = json.loads((path / "eval.json").read_text())["before"]
    assert 0 < before["weight_auc_rows"] < before["pairs"]


def test_a_mistake_in_the_data_leaves_no_folder(runs: Path, tmp_path: Path):
    missing = tmp_path / "missing.jsonl"
    recipe = load_recipe(runs / "recipe.yaml", [f"data.train={missing}", "data.world=null"])
    with pytest.raises(DataError) as error:
        run(recipe, tmp_path / "out", False, False)
    assert str(error.value) == f"{missing}: no such file"
    assert list(tmp_path.iterdir()) == []


def test_a_gold_response_is_trained_on(runs: Path, tmp_path: Path):
    """TPO's likelihood term: ln V per token before training, as the scratch model knows nothing."""
    rows = [
        {"prompt": f"{n} + 1 = ", "chosen": f"{n + 1}.", "rejected": f"{n}!", "gold": f"It is {n + 1}."}
        for n in range(9)
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = ["model={name: scratch, layers: 1, width: 16, heads: 2, vocab_size: 512}", f"data={{train: {data}}}"]
    overrides += ["data.world=null", "data.holdout=1", "weighting=uniform", "losses=[{name: tpo}]", "training.steps=1"]
    path = run(load_recipe(runs / "recipe.yaml", overrides), tmp_path / "out", False, False).folder
    assert path is not None
    vocabulary = json.loads((path / "final" / "config.json").read_text())["vocab_size"]
    (line,) = metrics_of(path)
    assert line["loss/tpo_nll"] == pytest.approx(math.log(vocabulary), abs=0.2)
    assert line["loss/tpo"] == pytest.approx(math.log(2), abs=0.05)
    assert line["loss"] == pytest.approx(line["loss/tpo"] + line["loss/tpo_nll"], abs=1e-5)


def test_a_finished_run_is_not_overwritten(runs: Path, capsys):
    """Without `--resume` it is refused; with it there is nothing to do, which is no mistake."""
    whole = runs / "whole"
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.name != ".holder"}
    recipe = load_recipe(runs / "recipe.yaml", ["training.micro_batch_size=4"])
    with pytest.raises(RunFolderError) as error:
        run(recipe, whole, False, False)
    assert str(error.value) == (
        f"{whole}: holds a finished run; add --resume to extend it with a larger training.steps or choose another "
        "--output"
    )
    assert run(recipe, whole, True, False).folder == whole
    assert capsys.readouterr().out == f"{whole}: this run is finished; nothing is left to do\n"
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.name != ".holder"} == before


def test_a_changed_recipe_is_not_resumed(runs: Path, tmp_path: Path):
    unfinished = tmp_path / "run"
    unfinished.mkdir()
    for name in ("recipe.yaml", "run.json", "eval.json"):
        (unfinished / name).write_bytes((runs / "whole" / name).read_bytes())
    with pytest.raises(RunFolderError) as error:
        run(load_recipe(runs / "recipe.yaml", ["weighting.mix=0.5"]), unfinished, True, False)
    assert str(error.value) == (
        f"{unfinished}: cannot resume: the recipe differs from the one the run began with: weighting.mix (0.7, now 0.5)"
        "; undo the change or choose another --output"
    )
