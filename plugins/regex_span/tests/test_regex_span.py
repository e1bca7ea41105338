"""Matches become weights of the right tokens, and a pattern that never ends is stopped."""

from __future__ import annotations

import json
import re
import time

import numpy as np
import pytest
import regex_span
import torch
from regex_span import Matches, RegexSpan

from alignkit.conformance import check_component
from alignkit.errors import DataError, RecipeError
from alignkit.recipe.load import load_recipe
from alignkit.run import run
from alignkit.scores import Span
from alignkit.weighting import weightings

RECIPE = """
model: {name: world}
data: {train: "builtin:world", world: {pairs: 8, eval_pairs: 2}}
weighting: {name: regex_span, pattern: 'a\\w*'}
losses: [{name: dpo, beta: 1.0}]
trainer: preference
training: {steps: 1, batch_size: 4, micro_batch_size: 4, learning_rate: 1.0e-3}
evaluation: {pairs: 2, samples: 0}
"""


def test_it_keeps_its_promises():
    check_component(RegexSpan, pattern=r"\d+")
    check_component(RegexSpan, pattern="(?i)therefore", weight=0.0, elsewhere=1.0)


def test_matches_touch_tokens():
    """`It is 42.` as `It`, ` i`, `s 4`, `2`, `.` and an end token: 42 stands in the third and the fourth."""
    offsets_N2 = np.array([[0, 2], [2, 4], [4, 7], [7, 8], [8, 9], [9, 9]])
    assert Matches(pattern=r"\d+").of_text("It is 42.", offsets_N2).tolist() == [False, False, True, True, False, False]
    assert Matches(pattern=r"$").of_text("It is 42.", offsets_N2).sum() == 0  # an empty match has no character


def test_weights():
    """1 1 4 1 has mean 7 / 4; with nothing elsewhere the match has all; without a match all are equal."""
    span = Span(
        torch.ones(2, 4, dtype=torch.bool), values={Matches(pattern="x"): torch.tensor([[0, 0, 1, 0], [0] * 4])}
    )
    weights_BT = RegexSpan(pattern="x").weights(span)
    torch.testing.assert_close(weights_BT, torch.tensor([[4 / 7, 4 / 7, 16 / 7, 4 / 7], [1.0] * 4]))
    assert RegexSpan(pattern="x", elsewhere=0.0).weights(span).tolist() == [[0, 0, 4, 0], [1, 1, 1, 1]]


def test_a_pattern_that_never_ends_is_stopped(monkeypatch):
    monkeypatch.setattr(regex_span, "SECONDS", 0.05)
    text, before = "a" * 80 + "b", time.monotonic()
    with pytest.raises(
        DataError, match=re.escape("the pattern '(a|aa)+$' takes more than 0.05 s on a response of 81 ")
    ):
        Matches(pattern="(a|aa)+$").of_text(text, np.zeros((1, 2), dtype=np.int64))
    assert time.monotonic() - before < 5


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setitem(weightings._classes, "regex_span", RegexSpan)
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE)
    return path


def test_a_mistake_in_the_pattern_has_its_place(recipe):
    recipe.write_text(RECIPE.replace(r"a\w*", "(a"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe)
    message = "weighting.pattern: no regular expression: missing ) at position 2, got '(a'"
    assert str(caught.value) == f"{recipe}:4: {message}"


def test_a_whole_run(recipe, tmp_path):
    run(load_recipe(recipe), tmp_path / "run", quiet=True)
    (line,) = [json.loads(text) for text in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert 0 < line["weights/ess"] < 1 and line["loss"] == pytest.approx(np.log(2), abs=1e-4)
