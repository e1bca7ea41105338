"""Whole runs on labelled responses, on token weights from the data, and on contrastive models trained beforehand."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.workbench import SideRuns
from alignkit.errors import DataError
from alignkit.recipe.load import LoadedRecipe, load_recipe
from alignkit.rewards.judge import Judge
from alignkit.run import load_parts, prepare, run

RECIPE = """
model: {name: world}
data: {train: "builtin:world", world: {pairs: 8, eval_pairs: 4}}
losses: [{name: kto, beta: 1.0}]
trainer: unpaired
training: {steps: 2, batch_size: 4, micro_batch_size: 2, learning_rate: 1.0e-3, warmup: 0.0, schedule: constant}
evaluation: {pairs: 4, samples: 1, max_new_tokens: 2}
"""
TIS = (
    "trainer=preference",
    "losses=[{name: tis_dpo, beta: 1.0}]",
    "weighting={name: tis, contrast: {name: dpo, steps: 2}}",
)
PROMPT = "What helps a fern that has slugs?\n"
RIGHT = "You should set a trap."
WRONG = "You should warm the room."
"""Six tokens each in the world's tokenizer, EOS not counted."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Values that are kept, apart from those of other tests and of the user."""
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def loaded(tmp_path) -> Callable[..., LoadedRecipe]:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return lambda *overrides: load_recipe(tmp_path / "recipe.yaml", list(overrides))


@pytest.fixture
def finished(tmp_path, loaded) -> Callable[..., Path]:
    """The folder of a run that was made now."""

    def finished(*overrides: str, name: str = "run", resume: bool = False) -> Path:
        path = run(loaded(*overrides), tmp_path / name, resume, False).folder
        assert path is not None and (path / "DONE").is_file()
        return path

    return finished


@pytest.fixture
def write(tmp_path) -> Callable[..., str]:
    """Writes rows; gives back the override that trains on them and holds out as many."""

    def write(rows: list[dict], holdout: int = 0) -> str:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return f"data={{train: {tmp_path / 'rows.jsonl'}, holdout: {holdout}, world: null}}"

    return write


def metrics_of(folder: Path) -> list[dict[str, float]]:
    """The lines of `metrics.jsonl` without what a clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def evaluations_of(folder: Path) -> list[dict[str, float]]:
    recorded = json.loads((folder / "eval.json").read_text())
    return [recorded["before"], recorded["after"]]


# --- labelled responses ---


def test_kto_from_pairs(finished) -> None:
    """Before the first step every log-ratio is 0, so every response loses 1 - sigmoid(0) = 1/2."""
    folder = finished("training.batch_size=16", "training.learning_rate=3.0e-4")
    first, second = metrics_of(folder)
    assert first["examples"] == 16.0 and first["loss"] == first["loss/kto"] == pytest.approx(0.5, abs=1e-5)
    for key in ("rewards/chosen", "rewards/rejected", "kl/mismatched"):
        assert first[key] == pytest.approx(0.0, abs=1e-4)
    assert second["rewards/chosen"] > second["rewards/rejected"] + 0.01
    assert math.isfinite(second["kl/mismatched"])
    assert second["loss"] < 0.5 and second["epoch"] == 2.0
    for found in evaluations_of(folder):
        assert found.keys() >= {"pairs", "preference_accuracy", "ranking_accuracy", "margin", "nll", "kl", "weight_auc"}
        assert found["pairs"] == 4.0 and "reward_auc" not in found
    before, after = evaluations_of(folder)
    assert before["preference_accuracy"] == 0.5 and before["margin"] == pytest.approx(0.0, abs=1e-4)
    assert before["kl"] == pytest.approx(0.0, abs=1e-5) and after["kl"] > 1e-5


def labelled(num: int) -> list[dict]:
    """Different prompts, desirable and undesirable responses in turn."""
    return [
        {"prompt": f"{n} + 1 = ", "completion": f"{n + 1}." if n % 2 else f"{n}!", "label": bool(n % 2)}
        for n in range(num)
    ]


def test_kto_from_labelled_responses(finished, write, capsys) -> None:
    scratch = "model={name: scratch, layers: 1, width: 32, heads: 2, vocab_size: 512}"
    folder = finished(write(labelled(12), holdout=6), scratch, "training.batch_size=6")
    first, second = metrics_of(folder)
    assert first["loss/kto"] == pytest.approx(0.5, abs=1e-5) and second["loss/kto"] < 0.5
    assert second["epoch"] == 2.0
    before, after = evaluations_of(folder)
    assert before.keys() == after.keys() >= {"responses", "nll", "reward_auc", "kl"}
    assert not {"pairs", "margin", "preference_accuracy", "true_reward", "weight_auc"} & before.keys()
    assert before["responses"] == 4.0 and before["reward_auc"] == 0.5  # every couple is a tie
    assert 0.0 <= after["reward_auc"] <= 1.0
    shown = capsys.readouterr().out
    assert "AUC of log-ratios by label" in shown and "4 labelled responses" in shown


def test_what_a_run_on_labelled_responses_logs_does_not_depend_on_micro_batches(finished) -> None:
    """One micro-batch may hold one kind only; means are over the responses of the step."""
    whole, split = (metrics_of(finished(f"training.micro_batch_size={size}", name=str(size))) for size in (4, 1))
    for one, other in zip(whole, split, strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-4)


def test_contrastive_weights_of_labelled_responses_and_held_out_pairs(finished, tmp_path) -> None:
    """Training rows are halves of pairs and held-out rows are pairs; both have weights. Rank gives 0.7 to 1.3."""
    folder = finished("weighting={name: tis, weigh_last: true, contrast: {name: sft, steps: 2}}")
    assert len(list((folder / "contrast").rglob("metrics.jsonl"))) == 2
    assert all(line["weights/max"] == pytest.approx(1.3) for line in metrics_of(folder))
    assert all("weight_auc" in found for found in evaluations_of(folder))


def test_held_out_rows_of_a_file_have_no_planted_tokens(finished, tmp_path) -> None:
    """Though the training rows are the world's."""
    (tmp_path / "eval.jsonl").write_text(json.dumps(PAIR) + "\n")
    for name, trainer in (("unpaired", ()), ("preference", PREFERENCE)):
        folder = finished(f"data.eval={tmp_path / 'eval.jsonl'}", *trainer, name=name)
        for found in evaluations_of(folder):
            assert found["pairs"] == 1.0 and "weight_auc" not in found


# --- weights that the data brings along ---

WEIGHTS = {"chosen_weight": [0, 0.5, 2, 0.25, 4, 1], "rejected_weight": [3, 0, 0, 1.5, 0, 0, 0.5]}
"""For each token but EOS, and for EOS too."""
PAIR = {"prompt": PROMPT, "chosen": RIGHT, "rejected": WRONG}
PREFERENCE = ("trainer=preference", "losses=[{name: weighted_dpo}]")
AS_THEY_ARE = "weighting={name: column, rescale: raw}"


def in_effect(loaded: LoadedRecipe, tmp_path: Path) -> list[list[float]]:
    """Weights of all responses of all training rows."""
    prepared = prepare(load_parts(loaded, tmp_path, None), SideRuns(tmp_path), Judge([]))
    scored = [prepared.step.scoring.score([row], 0).responses for row in prepared.parts.tables.train]
    return [response.weights_BT[0].tolist() for responses in scored for response in responses]


@pytest.mark.parametrize("trainer", ["preference", "unpaired"])
def test_the_weights_in_effect_are_those_given(trainer, loaded, write, tmp_path) -> None:
    """EOS weighs nothing where it is given no weight."""
    of = loaded(write([PAIR | WEIGHTS]), AS_THEY_ARE, *(PREFERENCE if trainer == "preference" else ()))
    assert in_effect(of, tmp_path) == [[0, 0.5, 2, 0.25, 4, 1, 0], [3, 0, 0, 1.5, 0, 0, 0.5]]


def test_weights_of_labelled_responses(loaded, write, tmp_path) -> None:
    rows = [
        {"prompt": PROMPT, "completion": RIGHT, "label": True, "completion.mark": [1, 0, 0, 0, 0, 2]},
        {"prompt": PROMPT, "completion": WRONG, "label": False, "completion.mark": "[0, 0, 0, 0, 3, 0, 1]"},
    ]
    of = loaded(write(rows), "weighting={name: column, suffix: .mark, rescale: raw}")
    assert in_effect(of, tmp_path) == [[1, 0, 0, 0, 0, 2, 0], [0, 0, 0, 0, 3, 0, 1]]


def test_swapped_labels_take_their_weights_along(loaded, write, tmp_path) -> None:
    of = loaded(write([PAIR | WEIGHTS]), AS_THEY_ARE, "data.label_noise=1.0", *PREFERENCE)
    assert in_effect(of, tmp_path) == [[3, 0, 0, 1.5, 0, 0, 0.5], [0, 0.5, 2, 0.25, 4, 1, 0]]


def test_a_cut_response_keeps_the_weights_of_what_is_left(loaded, write, tmp_path) -> None:
    """The prompt has 9 tokens, so 12 leave 3 of each response."""
    fit = ("data.max_length=12", "data.on_overflow=truncate_response")
    of = loaded(write([PAIR | WEIGHTS]), AS_THEY_ARE, *fit, *PREFERENCE)
    assert in_effect(of, tmp_path) == [[0, 0.5, 2], [3, 0, 0]]


def test_a_run_on_given_weights(finished, write) -> None:
    """Mean 1 over 7 tokens: the largest weights are 4 x 7 / 7.75 and 3 x 7 / 5, mean 3.906452. Effective sizes
    7.75^2 / 21.3125 = 2.818182 and 5^2 / 11.5 = 2.173913, as shares of 7 on average 0.356578."""
    folder = finished(write([PAIR | WEIGHTS]), "weighting=column", *PREFERENCE, "training.batch_size=1")
    for line in metrics_of(folder):
        assert line["weights/max"] == pytest.approx(3.906452, abs=1e-5)
        assert line["weights/ess"] == pytest.approx(0.356578, abs=1e-5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            PAIR | {"chosen_weight": [1] * 6},
            "no column 'rejected_weight', which the recipe's components need; columns found: chosen, chosen_weight, "
            "prompt, rejected",
        ),
        (
            PAIR,
            "no column 'chosen_weight', which the recipe's components need; columns found: chosen, prompt, rejected",
        ),
    ],
    ids=["one", "both"],
)
def test_a_missing_column_is_one_line_and_leaves_no_folder(row, message, finished, write, tmp_path) -> None:
    with pytest.raises(DataError) as caught:
        finished(write([row]), "weighting=column", *PREFERENCE)
    assert str(caught.value) == f"{tmp_path / 'rows.jsonl'}: {message}"
    assert not (tmp_path / "run").exists()


# --- contrastive models ---


def test_a_second_run_reads_what_the_first_computed_and_trains_nothing(finished, cache) -> None:
    first = finished(*TIS, name="first")
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")}
    second = finished(*TIS, name="second")
    assert len(list((first / "contrast").rglob("metrics.jsonl"))) == 2
    assert not (second / "contrast").exists()
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")} == kept and len(kept) == 2
    assert metrics_of(first) == metrics_of(second)
    assert evaluations_of(first) == evaluations_of(second)
    weights = [load_file(folder / "final/model.safetensors") for folder in (first, second)]
    assert all(bool((weights[0][key] == weights[1][key]).all()) for key in weights[0])


@pytest.mark.slow
def test_other_weights_of_the_same_log_ratios_train_nothing_either(finished) -> None:
    """Only what the two models say is kept, not what is made of it; another beta of the contrast is another model."""
    finished(*TIS, name="rank")
    clamp = finished(*TIS, "weighting.transform=clamp", name="clamp")
    other = finished(*TIS, "weighting.contrast.beta=0.7", name="other")
    assert not (clamp / "contrast").exists() and (other / "contrast").exists()


def test_a_dry_run_trains_nothing_and_leaves_nothing(loaded, tmp_path, monkeypatch, cache, capsys) -> None:
    of = loaded(*TIS)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert run(of, None, False, True).folder is None
    assert list(Path.cwd().iterdir()) == []
    assert "training the contrastive model" not in capsys.readouterr().out


def test_with_an_adapter(finished) -> None:
    """Both models are adapters on the one model, whose rank weights reach from 0.7 to 1.3 but for EOS."""
    folder = finished(*TIS, "model.adapter={rank: 2, alpha: 4}", "training.learning_rate=0.02")
    assert (folder / "contrast").is_dir() and (folder / "final/adapter_model.safetensors").is_file()
    before, after = evaluations_of(folder)
    assert before["margin"] == pytest.approx(0.0, abs=1e-4) and after["kl"] > before["kl"] + 1e-4
    assert all(line["weights/max"] == pytest.approx(1.3, abs=0.05) for line in metrics_of(folder))


def test_a_run_stopped_in_a_contrastive_training_goes_on_there(finished, monkeypatch, tmp_path) -> None:
    """SIGTERM in the second step of the positive model; resumed, the run is the uninterrupted one."""
    whole = finished(*TIS, name="whole")
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "other cache"))
    real, calls = ObjectiveStep.loss, []

    def stopping(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **keywords)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(ObjectiveStep, "loss", stopping)
        finished(*TIS, name="cut")
    assert stopped.value.code == 128 + signal.SIGTERM
    assert [path.name for path in (tmp_path / "cut/contrast").rglob("checkpoints/*")] == ["step-00000002"]
    cut = finished(*TIS, name="cut", resume=True)
    assert metrics_of(cut) == metrics_of(whole) and evaluations_of(cut) == evaluations_of(whole)
