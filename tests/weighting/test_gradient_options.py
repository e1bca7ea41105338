"""Options of the gradient weighting that ask more than one model, or ask it less often."""

from __future__ import annotations

import pytest
import torch

from alignkit.asks.needs import Needs
from alignkit.errors import RecipeError
from alignkit.models.attribution import Attribution
from alignkit.recipe.load import load_recipe
from alignkit.registry import dump_component
from alignkit.scores import Span
from alignkit.weighting import weightings
from alignkit.weighting.gradient import Gradient

RECIPE = """\
model: world
data: {train: "builtin:world"}
losses: [dpo]
trainer: preference
"""

OF_REFERENCE = "has no use with model 'reference', whose importances never change; leave it out"
LINES = {
    "{name: gradient, target: log_ratio, model: reference}": (
        "weighting: target 'log_ratio' asks policy and reference both; leave 'model' out"
    ),
    "{name: gradient, model: reference, refresh_every: 10}": f"weighting: 'refresh_every' {OF_REFERENCE}",
    "{name: gradient, model: reference, smoothing: 0.5}": f"weighting: 'smoothing' {OF_REFERENCE}",
    "{name: hybrid, gradient: {name: gradient, model: reference, smoothing: 0.5}}": (
        f"weighting.gradient: 'smoothing' {OF_REFERENCE}"
    ),
    "{name: gradient, target: log_ratio, position: last_token}": (
        "weighting: position 'last_token' goes with target 'max_logit' only: nothing follows the last token that "
        "'log_ratio' could read; use position 'predict_last'"
    ),
    "{name: gradient, refresh_every: 0}": "weighting.refresh_every: must be greater than 0, got 0",
    "{name: gradient, smoothing: 1}": "weighting.smoothing: must be less than 1, got 1",
}


@pytest.mark.parametrize(("value", "message"), LINES.items(), ids=list(LINES))
def test_a_wrong_line_of_a_recipe(tmp_path, monkeypatch, value, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(f"{RECIPE}weighting: {value}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe("recipe.yaml")
    assert str(caught.value) == f"recipe.yaml:5: {message}"


def test_the_resolved_recipe_loads_again(tmp_path, monkeypatch) -> None:
    """It gives every option its default, those without a use too."""
    monkeypatch.chdir(tmp_path)
    for number, value in enumerate(("{name: gradient, model: reference}", "{name: gradient, target: log_ratio}")):
        path = tmp_path / f"{number}.yaml"
        path.write_text(f"{RECIPE}weighting: {value}\n")
        loaded = load_recipe(path)
        again = tmp_path / f"{number}_again.yaml"
        again.write_text(loaded.to_yaml())
        assert load_recipe(again).recipe == loaded.recipe


NEEDS = {
    "default": ({}, Needs(attributions=frozenset({Attribution()}))),
    "log_ratio": ({"target": "log_ratio"}, Needs(reference=True, attributions=frozenset({Attribution("log_ratio")}))),
    "of the reference": (
        {"model": "reference", "norm": "l2"},
        Needs(attributions=frozenset({Attribution(norm="l2", model="reference")})),
    ),
    "remembered": (
        {"refresh_every": 10, "smoothing": 0.25},
        Needs(attributions=frozenset({Attribution(refresh_every=10, smoothing=0.25)})),
    ),
    "full sequence": (
        {"scope": "full_sequence", "target": "log_ratio"},
        Needs(reference=True, full_sequence=True, attributions=frozenset({Attribution("log_ratio")})),
    ),
}


@pytest.mark.parametrize("case", NEEDS)
def test_needs(case) -> None:
    values, wanted = NEEDS[case]
    assert weightings.build("gradient", values).all_needs() == wanted


def test_only_what_asks_the_reference_alone_is_known_before_training() -> None:
    built = {case: weightings.build("gradient", values).attribution for case, (values, _) in NEEDS.items()}
    assert [case for case, attribution in built.items() if attribution.is_static] == ["of the reference"]
    assert [case for case, attribution in built.items() if attribution.is_remembered] == ["remembered"]
    assert Attribution(smoothing=0.1).is_remembered and Attribution(refresh_every=2).is_remembered


def test_only_the_log_ratio_needs_the_reference_at_hand() -> None:
    live = {case: needs.live_reference for case, (_, needs) in NEEDS.items()}
    assert [case for case, is_live in live.items() if is_live] == ["log_ratio", "full sequence"]


def test_each_way_to_ask_has_importances_of_its_own() -> None:
    """Two gradients in one mixture, the second asked every third step: shares 1/4, 3/4 and 1/2, 1/2, half each."""
    seldom = {"name": "gradient", "refresh_every": 3}
    weighting = weightings.build("hybrid", {"mix": 0.5, "prior": seldom, "rescale": "sum1"})
    attributions = {Attribution(): torch.tensor([[1.0, 3.0]]), Attribution(refresh_every=3): torch.tensor([[2.0, 2.0]])}
    assert weighting.needs().attributions == attributions.keys()
    span = Span(torch.ones(1, 2, dtype=torch.bool), importance=attributions)
    assert weighting.weights(span).tolist() == [[0.375, 0.625]]


def test_what_is_dumped_builds_the_same_again() -> None:
    for values, _ in NEEDS.values():
        weighting = weightings.build("gradient", values)
        assert isinstance(weighting, Gradient)
        assert weightings.build("gradient", dump_component(weighting)) == weighting
