"""`alignkit evaluate`, and benchmarks before and after a run: the same items, the same numbers, nothing twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from benchmark_toy import DATA, written

from alignkit import trusted
from alignkit.benchmarks import benchmarks
from alignkit.benchmarks.choices import Choices
from alignkit.cli import main
from alignkit.evaluating import evaluate
from alignkit.loop.signals import Interrupted
from alignkit.models.world import FOLDER
from alignkit.recipe.load import load_recipe
from alignkit.run import run

CHOICES = [
    {
        "question": f"My {plant} has salty soil.",
        "choices": ["You may want to rinse the soil.", "Water it."],
        "answer": n % 2,
    }
    | {"kind": kind}
    for n, (plant, kind) in enumerate([("fig", "tree"), ("basil", "herb"), ("bamboo", "grass"), ("mint", "herb")])
]
RECIPE = """
model: world
data: {{train: "builtin:world", world: {{pairs: 32, eval_pairs: 8}}}}
losses: [dpo]
trainer: preference
training: {{steps: 2, batch_size: 8, learning_rate: 1.0e-2, save_every: 1}}
evaluation:
  pairs: 4
  samples: 2
  max_new_tokens: 8
  benchmarks:
    - {{name: choices, data: choices.jsonl, cluster: kind}}
    - {{name: gsm8k, data: {gsm8k}, shots: 1, limit: 2, max_new_tokens: 4}}
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(Path("choices.jsonl"), CHOICES)
    Path("r.yaml").write_text(RECIPE.format(gsm8k=DATA / "gsm8k_sample.jsonl"))


@pytest.fixture
def alignkit(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        return caught.value.code, *capsys.readouterr()

    return call


def lines(path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_run_asks_before_and_after_and_its_model_alone_says_the_same(alignkit):
    folder = run(load_recipe("r.yaml"), "run", quiet=True).folder
    of_run = lines(folder / "eval" / "choices.jsonl")
    assert [line["moment"] for line in of_run] == ["before"] * 4 + ["after"] * 4
    assert [line["cluster"] for line in of_run[:4]] == ["tree", "herb", "grass", "herb"]
    numbers = json.loads((folder / "eval.json").read_text())
    assert {"choices/mc2", "choices/mc2_se", "gsm8k/strict_match"} <= numbers["change"].keys()
    moved = [
        after["scores"]["mc2"] - before["scores"]["mc2"] for before, after in zip(of_run[:4], of_run[4:], strict=True)
    ]
    assert numbers["change"]["choices/mc2"] == pytest.approx(sum(moved) / 4) and any(moved)
    assert "| choices/accuracy |" in (folder / "final" / "README.md").read_text()

    code, out, err = alignkit("evaluate", "run", "r.yaml", "--output", "alone", "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert record == json.loads(Path("alone/evaluation.json").read_text())
    for line, other in zip(lines("alone/eval/choices.jsonl"), of_run[4:], strict=True):
        assert line == other | {"moment": "alone"}
    score = record["results"]["choices/mc2"]
    assert score["value"] == numbers["after"]["choices/mc2"] and score["se"] == numbers["after"]["choices/mc2_se"]
    assert score["low"] < score["value"] < score["high"] and score["n"] == 4
    for name in ("nll", "ranking_accuracy", "true_reward"):
        assert record["results"][name]["value"] == pytest.approx(numbers["after"][name], abs=1e-5)
    assert not record["results"].keys() & {"margin", "kl", "weight_auc"}  # of a training, not of a model
    assert record["first_prompts"]["choices"] == "Question: My fig has salty soil.\nAnswer:"
    assert {line["moment"] for line in lines("alone/samples.jsonl") + lines("alone/eval_rows.jsonl")} == {"alone"}
    assert record["fingerprints"].keys() == {"model", "template", "data"} and record["ended"]


def test_a_resumed_run_asks_nothing_twice(monkeypatch):
    asked = []
    monkeypatch.setattr(Choices, "ask", counting(Choices.ask, asked))
    with monkeypatch.context() as patch:
        patch.setattr("alignkit.run._train", stop)
        with pytest.raises(Interrupted):
            run(load_recipe("r.yaml"), "run", quiet=True)
    before = lines("run/eval/choices.jsonl")
    assert asked == [4]
    run(load_recipe("r.yaml"), "run", resume=True, quiet=True)
    assert asked == [4, 4] and lines("run/eval/choices.jsonl")[:4] == before
    assert "choices/mc2" in json.loads(Path("run/eval.json").read_text())["change"]


def stop(*_, **__):
    raise Interrupted(15)


def counting(method, asked):
    def ask(self, subject, items):
        asked.append(len(items))
        return method(self, subject, items)

    return ask


SMALL = ("evaluation.pairs=0", "evaluation.samples=0")


def test_an_interrupted_evaluation_goes_on_with_the_next_benchmark(monkeypatch):
    asked = []
    loaded = load_recipe("r.yaml", SMALL)
    monkeypatch.setattr(Choices, "ask", counting(Choices.ask, asked))
    with monkeypatch.context() as patch:
        patch.setattr("alignkit.benchmarks.gsm8k.Gsm8k.ask", stop)
        with pytest.raises(Interrupted) as caught:
            evaluate(str(FOLDER), loaded, Path("alone"), quiet=True)
    assert caught.value.message == (
        "stopped by SIGTERM; measured so far: choices; go on with the same command and --output alone"
    )
    assert json.loads(Path("alone/evaluation.json").read_text())["ended"] is None
    record = evaluate(str(FOLDER), loaded, Path("alone"), quiet=True).record
    assert asked == [4] and record.done == ["choices", "gsm8k"]
    whole = evaluate(str(FOLDER), loaded, Path("whole"), quiet=True).record
    assert whole.results == record.results
    assert evaluate(str(FOLDER), loaded, Path("alone"), quiet=True).record == record and asked == [4, 4]


def test_a_folder_of_something_else_is_refused(alignkit):
    small = [part for setting in SMALL for part in ("--set", setting)]
    assert alignkit("evaluate", str(FOLDER), "r.yaml", *small, "--output", "alone")[0] == 0
    code, _, err = alignkit("evaluate", str(FOLDER), "r.yaml", *small, "--set", "seed=1", "--output", "alone")
    assert (code, err) == (2, "alone: holds an evaluation by another recipe; choose another --output\n")
    run(load_recipe("r.yaml", [*SMALL, "evaluation.benchmarks=[]"]), "run", quiet=True)
    code, _, err = alignkit("evaluate", "run", "r.yaml", *small, "--output", "alone")
    said = "alone: holds the evaluation of another model (fingerprints differ); choose another --output\n"
    assert (code, err) == (2, said)
    code, _, err = alignkit("evaluate", "run", "r.yaml", *small, "--output", "run")
    assert (code, err) == (2, "run: holds files but no evaluation.json; choose another --output\n")
    code, _, err = alignkit("evaluate", "run", "r.yaml", *small, "--output", "r.yaml")
    assert (code, err) == (2, "r.yaml: is a file; --output needs a folder\n")


@pytest.mark.parametrize("verb", [("run",), ("evaluate", "nowhere/at-all")])
def test_missing_data_is_told_before_a_model_is_looked_for(alignkit, verb):
    setting = "evaluation.benchmarks=[{name: choices, data: gone.jsonl}]"
    code, _, err = alignkit(*verb, "r.yaml", "--set", setting, "--output", "out")
    assert code == 2 and err.startswith("evaluation.benchmarks.choices.data: no file 'gone.jsonl'; did you mean ")
    assert err.count("\n") == 1 and not Path("out").exists()


def test_validate_says_what_is_missing(alignkit):
    setting = "evaluation.benchmarks=[{name: choices, data: gone.jsonl}]"
    code, _, err = alignkit("validate", "r.yaml", "--set", setting)
    assert code == 2 and f"--set {setting}: evaluation.benchmarks.0.data: no file 'gone.jsonl'; did you mean " in err


@pytest.mark.parametrize("verb", [("run",), ("evaluate", "nowhere/at-all")])
def test_code_is_run_where_the_command_line_says_so(alignkit, verb):
    setting = f"evaluation.benchmarks=[{{name: humaneval, data: {DATA / 'humaneval_sample.jsonl'}}}]"
    code, _, err = alignkit(*verb, "r.yaml", "--set", setting, "--output", "out")
    assert code == 2 and "evaluation.benchmarks.humaneval: runs code that the model writes; give --execute-code" in err
    assert not Path("out").exists()


def test_a_recipe_that_measures_nothing(alignkit):
    nothing = [part for setting in (*SMALL, "evaluation.benchmarks=[]") for part in ("--set", setting)]
    assert alignkit("evaluate", str(FOLDER), "r.yaml", *nothing) == (
        2,
        "",
        "evaluation: the recipe measures nothing; list benchmarks in evaluation.benchmarks, or have "
        "evaluation.measures with evaluation.pairs or evaluation.samples above 0\n",
    )


def test_nothing_is_left_of_an_evaluation_that_cannot_begin(alignkit):
    code, _, err = alignkit("evaluate", str(FOLDER), "r.yaml", "--set", "evaluation.benchmarks.choices.chat=true")
    assert (code, err) == (
        2,
        "a benchmark has chat: true, and the model's tokenizer has no chat template; give chat: auto or false\n",
    )
    assert alignkit("evaluate", "no/model", "r.yaml", "--output", "out")[0] == 2 and not Path("out").exists()


def test_two_of_a_kind_need_labels(alignkit):
    one = "{name: choices, data: choices.jsonl}"
    code, _, err = alignkit("validate", "r.yaml", "--set", f"evaluation.benchmarks=[{one}, {one}]")
    assert code == 2 and err.endswith(
        "evaluation.benchmarks.1: 'choices' is what evaluation.benchmarks.0 is called already; give one of them "
        "another 'label'\n"
    )
    two = "{name: choices, label: again, data: choices.jsonl, seed: 1}"
    assert alignkit("validate", "r.yaml", "--set", f"evaluation.benchmarks=[{one}, {two}]")[0] == 0


def test_a_benchmark_in_a_single_file(alignkit, monkeypatch):
    """As `alignkit new plugin` writes it: trusted, named in a recipe, asked."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(Path("config").resolve()))
    trusted._scanned.cache_clear()
    before = dict(benchmarks._classes)
    try:
        assert alignkit("new", "plugin", "sums", "--kind", "benchmark", "--single-file")[0] == 0
        assert alignkit("plugins", "trust", "sums.py", "--yes")[0] == 0
        settings = [*SMALL, "evaluation.benchmarks=[{name: sums, count: 3}]"]
        record = evaluate(str(FOLDER), load_recipe("r.yaml", settings), Path("alone"), quiet=True).record
        assert record.results["sums/sum_named"].n == 3 and [*record.plugins] == [str(Path("sums.py").resolve())]
        assert [line["item"] for line in lines("alone/eval/sums.jsonl")] == ["1+1", "1+2", "1+3"]
    finally:
        benchmarks._classes.clear()
        benchmarks._classes.update(before)
        for name in [name for name in sys.modules if name.startswith("trusted_")]:
            del sys.modules[name]
        trusted._scanned.cache_clear()


@pytest.mark.slow
def test_nothing_is_asked_of_benchmarks_by_a_plan_or_a_dry_run(alignkit, monkeypatch):
    monkeypatch.setattr(Choices, "ask", stop)
    code, out, _ = alignkit("plan", "r.yaml")
    assert code == 0 and "benchmark choices, before and after training" in " ".join(out.split())
    assert alignkit("run", "r.yaml", "--dry-run")[0] == 0
