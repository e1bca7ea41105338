"""A measure of a plugin: named in a recipe, it is measured, recorded and reported without an edit in alignkit."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from engine_toy import full_logp, llama, move, recipe, rows, scoring

from alignkit import entry_points
from alignkit.cli import main
from alignkit.errors import MeasureError, RecipeError
from alignkit.evaluation import measures
from alignkit.evaluation.base import Measure, Value
from alignkit.evaluation.evaluate import Evaluation
from alignkit.evaluation.scene import HeldOut
from alignkit.evaluation.summary import Mean
from alignkit.models.reference import Reference
from alignkit.models.scorer import Scorer
from alignkit.models.statistics import ReverseKL
from alignkit.recipe.load import load_recipe
from alignkit.run import run

PAGE = Path(__file__).parents[2] / "docs" / "add-a-measure.md"
ALONE = SimpleNamespace(process_index=0, num_processes=1)
RECIPE = """
model: {name: world, start: random}
data: {train: "builtin:world", world: {pairs: 40, eval_pairs: 8}}
losses: [{name: dpo, beta: 1.0}]
trainer: preference
training: {steps: 2, batch_size: 8, learning_rate: 1.0e-3, eval_every: 1}
evaluation: {pairs: 4, samples: 2, max_new_tokens: 4}
"""


class NumWords(Measure):
    """Words of a sampled response."""

    looks_at = "samples"
    values = (Value("words", Mean("words"), "words of a sample", digits=1),)

    def per_row(self, held_out: HeldOut) -> Sequence[Mapping[str, Any]]:
        return [{"words": len(text.split())} for text in held_out.texts]


@pytest.fixture(autouse=True)
def plugin(monkeypatch, tmp_path):
    """As if an installed package had brought the measure that docs/add-a-measure.md shows, and another."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "mean_entropy.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mean_entropy", raising=False)
    points = [
        EntryPoint("mean_entropy", "mean_entropy:MeanEntropy", "alignkit.measure"),
        EntryPoint("num_words", f"{__name__}:NumWords", "alignkit.measure"),
    ]
    monkeypatch.setattr(entry_points, "installed", lambda: points)
    yield
    for point in points:
        measures._classes.pop(point.name, None)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def lines(path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The same run with the measures of null."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "recipe.yaml").write_text(RECIPE)
    return run(load_recipe(folder / "recipe.yaml"), folder / "run", False, False).folder


def test_a_whole_run(path, plain, capsys):
    chosen = "evaluation.measures=[pairs, {name: mean_entropy, factor: 2.0}, samples, num_words, weights]"
    folder = run(load_recipe(path, [chosen]), path.parent / "run", False, False).folder
    recorded, without = (json.loads((one / "eval.json").read_text()) for one in (folder, plain))
    for moment in ("before", "after", "change"):
        ours = {key: recorded[moment].pop(key) for key in ("entropy", "entropy_se", "words", "words_se")}
        assert recorded[moment] == without[moment]
        assert None not in ours.values()
        recorded[moment] |= ours
    assert recorded["after"]["entropy"] > 2  # the world's random model is unsure
    change = recorded["after"]["entropy"] - recorded["before"]["entropy"]
    assert recorded["change"]["entropy"] == pytest.approx(change, abs=1e-6) and change != 0

    found = lines(folder / "eval_rows.jsonl")
    assert [(line["moment"], line["row"]) for line in found] == [(m, r) for m in ("before", "after") for r in range(4)]
    assert np.mean([line.pop("entropy") for line in found[4:]]) == pytest.approx(recorded["after"]["entropy"])
    assert found[4:] == lines(plain / "eval_rows.jsonl")[4:]
    assert all(line["words"] == len(line["response"].split()) for line in lines(folder / "samples.jsonl"))
    assert [line["eval/entropy"] for line in lines(folder / "metrics.jsonl")][-1] == recorded["after"]["entropy"]

    printed = [line.split("│")[1].strip() for line in capsys.readouterr().out.splitlines() if line.count("│") == 5]
    labels = ["preference accuracy", "ranking accuracy", "margin, nats", "NLL of chosen, nats/token"]
    labels += ["entropy, nats/token", "KL to reference, nats", "true reward", "wrong advice", "malformed"]
    of_weights = ["AUC of token weights", "weight on critical tokens", "AUC where in doubt"]
    assert list(filter(None, printed)) == ["measure", *labels, "words of a sample", *of_weights]
    assert f"| entropy, nats/token | {recorded['before']['entropy']:.2f} +-" in (folder / "final/README.md").read_text()


def test_samples_can_be_read_whoever_measures_them(path, capsys):
    folder = run(load_recipe(path, ["evaluation.measures=[num_words]"]), path.parent / "run", False, False).folder
    assert json.loads((folder / "eval.json").read_text())["after"].keys() == {"words", "words_se"}
    keys = {"moment", "row", "where", "prompt", "response", "words"}
    assert all(line.keys() == keys for line in lines(folder / "samples.jsonl"))
    assert "Sampled responses, 2 of 2; all are in samples.jsonl\n" in capsys.readouterr().out


def test_what_is_not_listed_is_not_measured(path):
    folder = run(load_recipe(path, ["evaluation.measures=[mean_entropy]"]), path.parent / "run", False, False).folder
    assert json.loads((folder / "eval.json").read_text())["after"].keys() == {"entropy", "entropy_se"}
    assert not (folder / "samples.jsonl").exists()


def evaluation(*listed: str | dict, reference: bool = False) -> Evaluation:
    """Of a toy policy."""
    losses = [{"name": "dpo"}] if reference else [{"name": "simpo"}]
    of = recipe(losses, evaluation={"pairs": 3, "samples": 0, "measures": list(listed)})
    live = (lambda: Reference(Scorer(llama(), 4096))) if reference else None
    return Evaluation(scoring(of, move(llama()), llama()), of.evaluation, rows(), live, ALONE, False)


def test_a_statistic_is_that_of_the_whole_distribution():
    wanted = []
    for one in rows()[:3]:
        logp_TV = full_logp(move(llama()), one.prompt, one.responses["chosen"])
        wanted.append(-(logp_TV.exp() * logp_TV).sum(-1).mean().item())
    found = evaluation("mean_entropy").measure().rows
    assert [record["entropy"] for record in found] == pytest.approx(wanted, rel=1e-5)


class Says(Measure):
    """What a test wants it to say."""

    values = (Value("said", Mean("said")),)

    said: Any = None
    """That."""

    def per_row(self, held_out: HeldOut) -> Sequence[Mapping[str, Any]]:
        if self.said == "kl":
            return [{"said": kl} for kl in held_out.statistic(ReverseKL())[:, 0].sum(-1).tolist()]
        return self.said(held_out)


def test_a_statistic_that_reads_the_reference():
    found = evaluation("pairs", Says(name="says", said="kl"), reference=True).measure().rows
    for one, record in zip(rows(), found, strict=False):
        p_TV, q_TV = (full_logp(model, one.prompt, one.responses["chosen"]) for model in (move(llama()), llama()))
        assert record["said"] == pytest.approx((p_TV.exp() * (p_TV - q_TV)).sum().item(), rel=1e-4)
    with pytest.raises(MeasureError) as caught:
        evaluation(Says(name="says", said="kl")).measure()
    assert str(caught.value) == (
        "a measure asks for KL(policy || reference) at each token, and this method has no reference"
    )


def test_passes_are_shared_and_made_on_demand(monkeypatch):
    calls = []
    real = type(evaluation("pairs").scoring).score
    monkeypatch.setattr(
        "alignkit.engine.scoring.Scoring.score", lambda self, *a, **how: calls.append(how) or real(self, *a, **how)
    )
    one = Says(name="says", said=lambda held_out: [{"said": 1.0}] * len(held_out.rows))
    evaluation(one).measure()
    assert calls == []
    evaluation("pairs", "mean_entropy", one).measure()
    assert calls == [{"weigh": False}]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (lambda held_out: [{}], "measure 'says' says something of 1 of 3 rows"),
        (
            lambda held_out: [{"nll": 1.0}] * 3,
            "measure 'says' gives 'nll' of a row, which is there already; rename it",
        ),
        (
            lambda held_out: [{"row": 1}] * 3,
            "measure 'says' gives 'row' of a row, which is there already; rename it",
        ),
        (
            lambda held_out: [{"said": np.float32(1)}] * 3,
            "measure 'says' gives 'said' as float32; give a number, a flag or text",
        ),
        (
            lambda held_out: [{"said": text} for text in held_out.texts],
            "a measure that looks at rows asks for responses; looks_at = 'samples' has them",
        ),
    ],
)
def test_what_a_measure_must_not_say(said, message):
    with pytest.raises(MeasureError) as caught:
        evaluation("pairs", Says(name="says", said=said)).measure()
    assert str(caught.value) == message


def test_only_what_is_looked_at_is_made_ready():
    """Neither token values nor room for samples that nobody draws."""
    sizes = {
        names: recipe(evaluation={"pairs": 5, "samples": 7, "measures": [*names]}).sizes()
        for names in ((), ("pairs",), ("samples",), ("weights", "num_words"))
    }
    assert [(of.held_out, of.samples) for of in sizes.values()] == [(0, 0), (5, 0), (0, 7), (5, 7)]


KNOWN = "diversity, mean_entropy, num_words, pairs, rewards, samples, weights"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "[pears]",
            f"evaluation.measures.0: unknown measure 'pears'; did you mean 'pairs'? known: {KNOWN}",
        ),
        ("[pairs, {name: dpo}]", f"evaluation.measures.1.name: 'dpo' is a loss, not a measure; known: {KNOWN}"),
        ("[3]", "evaluation.measures.0: expected the name of a measure or a mapping with 'name', got 3 (a number)"),
        ("pairs", "evaluation.measures: expected a list, got 'pairs' (a string)"),
        ("[{name: mean_entropy, factor: 0}]", "evaluation.measures.0.factor: must be greater than 0, got 0"),
        (
            "[pairs, samples, pairs]",
            "evaluation.measures.2: 'pairs' gives 'preference_accuracy', as evaluation.measures.0 does; "
            "list one of them",
        ),
    ],
)
def test_mistakes_in_a_recipe(path, given, message):
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, [f"evaluation.measures={given}"])
    assert str(caught.value) == f"--set evaluation.measures={given}: {message}"


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            ["trainer=sft", "losses=[sft]"],
            "'weights' asks how token weights are spread, and they do not matter here; leave it out",
        ),
        (["data.eval=x.jsonl"], "'weights' knows the planted tokens of builtin:world only; leave it out"),
    ],
)
def test_weights_where_there_is_nothing_to_find(path, others, message):
    load_recipe(path, others)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, [*others, "evaluation.measures=[weights]"])
    assert str(caught.value) == f"--set evaluation.measures=[weights]: evaluation.measures.0: {message}"


def test_the_command_line_knows_it(capsys):
    def said(*arguments: str) -> str:
        with pytest.raises(SystemExit, match=r"^0$"):
            main(arguments)
        return capsys.readouterr().out

    assert "mean_entropy  Plugin mean_entropy:MeanEntropy.\n" in said("list", "measure")
    out = said("describe", "measure", "mean_entropy")
    assert out.startswith("measure mean_entropy\n\nHow undecided the policy is at the tokens of chosen responses.\n")
    assert "  factor: number > 0, default 1.0\n      Factor of the entropy; 1.4427 gives bits.\n" in out
