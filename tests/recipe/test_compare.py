"""What two recipes do differently: one line a value, with both origins."""

from __future__ import annotations

import pytest

from alignkit.cli import main

BASE = """\
model: {name: world}
data: {train: "builtin:world"}
weighting: {name: hybrid, mix: 0.7}
losses:
  - {name: weighted_dpo, beta: 1.0}
  - {name: triplet, coefficient: 0.1}
trainer: {name: preference}
training: {steps: 5}
"""


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """Exit code, output and complaint of `alignkit diff`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)

    def diff(lines: str, first: str = "base.yaml", second: str = "child.yaml"):
        (tmp_path / "child.yaml").write_text(f"extends: base.yaml\n{lines}\n")
        with pytest.raises(SystemExit) as caught:
            main(["diff", first, second])
        out, err = capsys.readouterr()
        return caught.value.code, out.splitlines(), err

    return diff


def test_the_same_recipe_has_no_difference(told):
    """Written otherwise, and with a default said aloud."""
    assert told("training: {warmup: 0.1}\nlosses.0.beta: 1") == (0, [], "")


def test_values_with_their_origins(told):
    assert told("losses.triplet.coefficient: 0.2\ntraining.warmup: 0.3\n~training.steps:") == (
        1,
        [
            "losses.triplet.coefficient: 0.1 (base.yaml:6) -> 0.2 (child.yaml:2)",
            "training.steps: 5 (base.yaml:8) -> null (default)",
            "training.warmup: 0.1 (default) -> 0.3 (child.yaml:3)",
        ],
        "",
    )


def test_items_are_told_apart_by_their_component_wherever_they_stand(told):
    """The triplet is gone, a likelihood is new, and the loss that both have is the same in another place."""
    code, lines, _ = told("losses: [{name: nll}, {name: weighted_dpo, beta: 1.0}]")
    assert code == 1 and [line.partition(": ")[0] for line in lines] == ["losses.triplet", "losses.nll"]
    assert lines[0].endswith("(base.yaml:6) -> absent")
    assert lines[1].startswith("losses.nll: absent -> {name: nll, ") and lines[1].endswith("(child.yaml:2)")


def test_another_component_is_one_difference(told):
    code, lines, _ = told("weighting: {name: uniform}")
    assert code == 1 and len(lines) == 1
    assert lines[0].startswith("weighting: {name: hybrid, ") and " (base.yaml:3) -> {name: uniform, " in lines[0]


def test_a_run_folder_stands_for_its_recipe(told, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(BASE.replace("steps: 5", "steps: 6"))
    assert told("", second="run")[:2] == (1, ["training.steps: 5 (base.yaml:8) -> 6 (run/recipe.yaml:8)"])


def test_a_mistake_in_either_is_told_as_ever(told):
    code, lines, err = told("training: {stepps: 5}")
    said = "child.yaml:2: training.stepps: unknown key; did you mean 'steps'?"
    assert (code, lines) == (2, []) and err.startswith(said)


def test_a_shipped_recipe(told):
    code, lines, _ = told("", "alignkit:tidpo", "alignkit:dpo")
    assert code == 1 and lines[0].startswith("weighting: {name: hybrid, ") and "alignkit:dpo.yaml" in lines[0]
