"""The package as a library: what a run gives, and what it leaves as it was."""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import accelerate
import datasets
import peft
import pytest
import torch
import transformers

import alignkit
from alignkit.engine.objective import ObjectiveStep
from alignkit.errors import ModelError, RecipeError, RunFolderError

SMALL = {
    "training.steps": 2,
    "training.batch_size": 4,
    "data.world.pairs": 8,
    "data.world.eval_pairs": 4,
    "evaluation.pairs": 4,
    "evaluation.samples": 0,
}
"""Two steps of the world."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))


def small(**more):
    return alignkit.load_recipe("alignkit:dpo.yaml", SMALL | {key.replace("__", "."): more[key] for key in more})


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


# --- the package ---


def test_importing_the_package_loads_nothing():
    heavy = "print(sorted({'torch', 'pydantic', 'yaml', 'rich', 'typer'} & set(sys.modules)))"
    assert python(f"import sys, alignkit; {heavy}") == "[]\n"
    loaded = "import sys, alignkit; alignkit.load_recipe('alignkit:tidpo'); print('torch' in sys.modules)"
    assert python(loaded) == "False\n"


@pytest.mark.parametrize(
    "first",
    [
        "import alignkit.run",
        pytest.param("from alignkit import run", marks=pytest.mark.slow),
        pytest.param("pass", marks=pytest.mark.slow),
    ],
)
def test_run_can_be_called_whoever_imported_the_module_of_its_name_first(first):
    assert python(f"{first}\nimport alignkit, inspect; print(*inspect.signature(alignkit.run).parameters)") == (
        "recipe output resume dry_run quiet execute_code\n"
    )


def test_the_package_has_the_names_it_lists_and_no_others():
    assert [name for name in alignkit.__all__ if not hasattr(alignkit, name)] == []
    assert dir(alignkit) == sorted(alignkit.__all__)
    with pytest.raises(AttributeError, match=r"^module 'alignkit' has no attribute 'train'$"):
        _ = alignkit.train


# --- recipes ---


def test_overrides_are_texts_or_a_mapping_of_plain_values():
    values = {
        "training.learning_rate": 1e-6,
        "model.adapter": {"rank": 4, "targets": ["q_proj", "v_proj"]},
        "data.max_rows": None,
        "training.deterministic": False,
        "losses": ({"name": "dpo", "beta": 0.5},),
        "data.separator": 'a: "b" # é\n\t\\ 😀',
    }
    texts = [
        "training.learning_rate=1e-6",
        "model.adapter={rank: 4, targets: [q_proj, v_proj]}",
        "data.max_rows=null",
        "training.deterministic=false",
        "losses=[{name: dpo, beta: 0.5}]",
        'data.separator="a: \\"b\\" # é\\n\\t\\\\ 😀"',
    ]
    loaded = alignkit.load_recipe("alignkit:dpo.yaml", values)
    assert loaded.recipe == alignkit.load_recipe("alignkit:dpo.yaml", texts).recipe
    assert loaded.recipe.data.separator == values["data.separator"]
    assert loaded.origins["model.adapter.rank"].startswith("--set model.adapter={")


def test_a_path_is_a_plain_value():
    assert small(
        model={"name": "pretrained", "path": "a"}, model__tokenizer=Path("b") / "c"
    ).recipe.model.tokenizer == (str(Path("b") / "c"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("seed=1", "overrides: expected a list of KEY=VALUE texts or a mapping, got 'seed=1'"),
        (
            {"seed": {1, 2}},
            "overrides: seed: expected a text, number, boolean, None, list or mapping, got {1, 2}",
        ),
        (
            {"training.learning_rate": math.inf},
            "overrides: training.learning_rate: expected a text, number, boolean, None, list or mapping, got inf",
        ),
        ({"seed": -1}, "--set seed=-1: seed: must be at least 0, got -1"),
        ({"a b=c": 1}, "--set a b=c=1: a b: unknown key"),
    ],
)
def test_overrides_that_are_none(overrides, message):
    with pytest.raises(RecipeError) as caught:
        alignkit.load_recipe("alignkit:dpo.yaml", overrides)
    assert str(caught.value).partition("; ")[0] == message


# --- results ---


def test_a_run_gives_what_it_left_in_its_folder(capsys):
    result = alignkit.run(small(training__eval_every=2), output="out", quiet=True)
    assert capsys.readouterr() == ("", "")
    assert result == alignkit.RunResult(Path("out")) and result.finished
    assert [line["step"] for line in result.metrics] == [1, 2]
    table = result.metrics_table()
    assert table["step"][:] == [1, 2] and table["eval/margin"][0] is None and table["eval/margin"][1] is not None
    evaluations = result.evaluations
    assert list(evaluations) == ["before", "after", "change"]
    gained = evaluations["after"]["margin"] - evaluations["before"]["margin"]
    assert evaluations["change"]["margin"] == pytest.approx(gained, abs=1e-6)


def test_what_was_not_a_number_is_nan_again():
    Path("out").mkdir()
    Path("out/eval.json").write_text('{"before": {"kl": null}, "after": null, "change": null}')
    (values,) = alignkit.RunResult(Path("out")).evaluations.values()
    assert math.isnan(values["kl"])


def test_an_adapter_comes_on_its_model():
    result = alignkit.run(small(model__adapter={"rank": 2}), output="out", quiet=True)
    model, tokenizer = result.load_model()
    assert isinstance(model, peft.PeftModel) and not model.training
    assert tokenizer("What helps a fig?").input_ids


def test_a_dry_run_has_no_folder(capsys):
    Path("small.yaml").write_text(small().to_yaml())
    result = alignkit.run("small.yaml", dry_run=True)
    Path("small.yaml").unlink()
    assert (result.folder, result.finished, result.metrics, result.evaluations) == (None, False, [], {})
    assert result.metrics_table().num_rows == 0 and list(Path.cwd().iterdir()) == []
    with pytest.raises(RunFolderError, match=r"^a dry run trains no model$"):
        result.load_model()
    assert "dry run: checked on" in capsys.readouterr().out


def test_a_model_that_is_not_there_or_damaged():
    result = alignkit.RunResult(Path("out"))
    with pytest.raises(RunFolderError) as caught:
        result.load_model()
    assert str(caught.value) == "out/final: no such folder; it is written when all steps are done"
    Path("out/final").mkdir(parents=True)
    Path("out/final/config.json").write_text("{")
    with pytest.raises(ModelError, match=r"^out/final cannot be loaded: "):
        result.load_model()


def test_a_signal_leaves_a_run_to_go_on_with(monkeypatch):
    """It comes amid the first of two steps."""
    real = ObjectiveStep.loss

    def interrupted(self, *arguments):
        if arguments[1] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *arguments)

    with monkeypatch.context() as patched, pytest.raises(SystemExit) as caught:
        patched.setattr(ObjectiveStep, "loss", interrupted)
        alignkit.run(small(), output="out", quiet=True)
    assert caught.value.code == 130
    stopped = alignkit.RunResult(Path("out"))
    assert not stopped.finished and len(stopped.metrics) == 1 and list(stopped.evaluations) == ["before"]
    resumed = alignkit.run(small(), output="out", resume=True, quiet=True)
    assert resumed.finished and [line["step"] for line in resumed.metrics] == [1, 2]


# --- what a run leaves as it was ---


def settings():
    return {
        "handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "deterministic": torch.get_deterministic_debug_mode(),
        "random state": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "precision": torch.get_float32_matmul_precision(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "transformers": transformers.utils.logging.get_verbosity(),
        "bars": (transformers.utils.logging.is_progress_bar_enabled(), datasets.are_progress_bars_disabled()),
        "hub": logging.getLogger("huggingface_hub").level,
        "warnings": warnings.filters[:],
        "accelerate": dict(accelerate.state.AcceleratorState._shared_state),
    }


def test_a_run_puts_back_what_it_changes(monkeypatch):
    monkeypatch.setattr(transformers.utils.logging, "_tqdm_active", True)
    before = settings()
    alignkit.run(small(training__deterministic=True), output="out", quiet=True)
    with pytest.raises(RunFolderError):
        alignkit.run(small(), output="out", quiet=True)
    assert settings() == before


def test_the_second_run_may_have_another_precision():
    assert alignkit.run(small(training__precision="fp32"), output="first", quiet=True).finished
    assert alignkit.run(small(training__precision="bf16"), output="second", quiet=True).finished


def test_an_accelerator_of_the_callers_keeps_its_precision():
    accelerate.state.AcceleratorState._reset_state()
    mine = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
    try:
        assert alignkit.run(small(training__precision="fp32"), output="out", quiet=True).finished
        assert mine.mixed_precision == "bf16"
    finally:
        accelerate.state.AcceleratorState._reset_state()


def test_a_run_off_the_main_thread_is_the_same_run():
    results = []
    thread = threading.Thread(target=lambda: results.append(alignkit.run(small(), output="out", quiet=True)))
    thread.start()
    thread.join()
    here = alignkit.run(small(), output="here", quiet=True)
    assert [line["loss"] for line in results[0].metrics] == [line["loss"] for line in here.metrics]
