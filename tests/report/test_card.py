"""The model card: what it says, that it is valid for the Hub, and that nothing in a recipe breaks out of it."""

from __future__ import annotations

from dataclasses import replace

import yaml

from alignkit.data.rows import DataReport
from alignkit.recipe.recipe import Recipe
from alignkit.report.card import ModelCard, write_card

RECIPE = {
    "model": {"name": "pretrained", "path": "org/base-1b"},
    "data": {"train": "pairs|x.jsonl"},
    "losses": [{"name": "dpo", "beta": 0.25}, {"name": "nll"}],
    "trainer": {"name": "preference"},
    "weighting": {"name": "prior"},
}
CARD = ModelCard(
    recipe=Recipe.model_validate(RECIPE),
    recipe_text="seed: 0\n# ``` inside\n",
    has_adapter=True,
    reports=[DataReport("pairs|x.jsonl", "prompt, chosen and rejected text", 40, 40, {}, {"held_out": 8}, "d1")],
    fingerprints={"data": "d1", "template": "t1", "model": "m1"},
    command=["/usr/bin/alignkit", "run", "my recipe.yaml", "--set", "seed=1"],
    versions={"python": "3.11.7", "alignkit": "0.1.0"},
    before={"preference_accuracy": 0.5, "preference_accuracy_se": 0.0, "pairs": 256.0},
    after={"preference_accuracy": 0.75, "preference_accuracy_se": 0.027, "pairs": 256.0},
    change={"preference_accuracy": 0.25, "preference_accuracy_se": 0.027},
)


def test_whole_but_the_method():
    lines = str(CARD).splitlines()
    start = lines.index("## Data")
    assert lines[start:] == [
        "## Data",
        "",
        r"- pairs\|x.jsonl: 40 of 40 rows used, 8 of them held out; prompt, chosen and rejected text; fingerprint `d1`",
        "",
        "## Evaluation",
        "",
        "On held-out data; +- is one standard error, that of a change is paired by row.",
        "",
        "| measure | before | after | change |",
        "|---|---|---|---|",
        "| preference accuracy | 0.500 +-0.000 | 0.750 +-0.027 | +0.250 +-0.027 |",
        "",
        "Held-out preference accuracy rose from 0.500 to 0.750 (+0.250, standard error 0.027).",
        "",
        "## Making it again",
        "",
        "The recipe, defaults included:",
        "",
        "````yaml",  # longer than the fence inside
        "seed: 0",
        "# ``` inside",
        "````",
        "",
        "The command:",
        "",
        "```sh",
        "alignkit run 'my recipe.yaml' --set seed=1",
        "```",
        "",
        "Versions: python 3.11.7, alignkit 0.1.0",
    ]


def test_what_came_from_the_hub():
    lines = str(replace(CARD, revisions={"model": "c0ffee", "data.train": None})).splitlines()
    assert lines[-3:] == [
        "From the Hub: `model` at commit `c0ffee`, `data.train` at commit `unknown`",
        "",
        "Versions: python 3.11.7, alignkit 0.1.0",
    ]


def test_the_method():
    lines = str(CARD).splitlines()
    assert "# `org/base-1b`, trained with alignkit" in lines
    assert "An adapter for `org/base-1b` (parameters' fingerprint `m1`)." in lines
    assert "| trainer | `preference` |  |" in lines
    loss = next(line for line in lines if line.startswith("| loss | `dpo` |"))
    assert "beta `0.25`" in loss and "label_smoothing `0.0`" in loss
    assert any(line.startswith("| token weighting | `prior` | ") for line in lines)


def test_what_the_hub_reads():
    metadata = yaml.safe_load(str(CARD).split("---\n")[1])
    assert metadata == {
        "library_name": "peft",
        "base_model": "org/base-1b",
        "pipeline_tag": "text-generation",
        "tags": ["alignkit", "dpo", "nll", "lora"],
    }


def test_a_folder_is_no_base_model_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "base-1b").mkdir(parents=True)
    assert "base_model" not in yaml.safe_load(str(CARD).split("---\n")[1])
    world = replace(CARD, recipe=Recipe.model_validate(RECIPE | {"model": "world"}), has_adapter=False)
    metadata = yaml.safe_load(str(world).split("---\n")[1])
    assert metadata["library_name"] == "transformers" and "base_model" not in metadata


def test_before_the_last_evaluation_it_says_so():
    text = str(replace(CARD, after={}, change={}))
    assert "The evaluation after training was not finished when this was written." in text
    assert "| measure |" not in text


def test_it_replaces_what_was_there(tmp_path):
    (tmp_path / "README.md").write_text("[More Information Needed]")
    write_card(tmp_path, CARD)
    assert (tmp_path / "README.md").read_text() == str(CARD)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
