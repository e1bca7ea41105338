"""What can be looked at of a pipeline before any stage ran: the model of an earlier stage stands for its result."""

from __future__ import annotations

import json

import pytest

from alignkit.cli import main
from alignkit.recipe.load import load_recipe
from alignkit.recipe.pipeline import before_any, load

PIPELINE = """
extends: alignkit:base/world.yaml
data.world: {pairs: 40, eval_pairs: 20}
training: {steps: 3, batch_size: 4, micro_batch_size: 4}
evaluation: {pairs: 4, samples: 2, max_new_tokens: 4}
stages:
  sft: {losses: [sft], trainer: sft}
  dpo: {extends: alignkit:dpo.yaml, model: {name: pretrained, path: 'stage:sft', gradient_checkpointing: true}}
  last: {extends: alignkit:dpo.yaml, model: {name: pretrained, path: 'stage:dpo'}, training.steps: 5}
"""


@pytest.fixture(autouse=True)
def pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text(PIPELINE)


def test_each_stage_begins_with_the_model_of_the_first():
    found = before_any(load("p.yaml"))
    assert [stage.recipe.model.name for stage in found.values()] == ["world"] * 3
    assert [stage.recipe.model.gradient_checkpointing for stage in found.values()] == [False, True, False]
    assert found["last"].recipe.training.steps == 5


def test_a_recipe_is_one_stage():
    loaded = load_recipe("alignkit:dpo.yaml")
    assert before_any(loaded) == {"": loaded}


def told(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code, capsys.readouterr().out


@pytest.mark.slow
def test_plan_and_doctor_tell_of_every_stage(capsys):
    code, out = told(capsys, "plan", "p.yaml", "--json")
    plans = json.loads(out)["stages"]
    assert code == 0
    assert {name: plan["steps"] for name, plan in plans.items()} == {"sft": 3, "dpo": 3, "last": 5}
    code, out = told(capsys, "doctor", "p.yaml", "--json")
    checked = json.loads(out)["stages"]
    assert [one["recipe"] for one in checked.values()] == [f"p.yaml, stage {name}" for name in ("sft", "dpo", "last")]
    assert code == any(finding["level"] == "error" for one in checked.values() for finding in one["findings"])
