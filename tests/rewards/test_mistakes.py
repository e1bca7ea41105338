"""A mistake in a recipe's rewards is one line: where, what is wrong, what was given, what would be right."""

from __future__ import annotations

import importlib.util

import pytest

from alignkit.errors import RecipeError
from alignkit.recipe.load import load_recipe


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (
            "answre",
            "rewards.0: unknown reward 'answre'; did you mean 'answer'? known: answer, code, column, constraints, "
            "format, length, math, model, regex, repetition, world",
        ),
        (
            "{name: answer, extract: tagg}",
            "rewards.0.extract: unknown value 'tagg'; did you mean 'tag'? known: gsm8k, last_number, tag, exact",
        ),
        (
            "{name: answer, after: think}",
            "rewards.0: after 'think' is for extract 'tag'; 'gsm8k' looks at no tags",
        ),
        (
            "{name: answer, extract: tag, after: answer}",
            "rewards.0: after and tag must be two names, got 'answer' twice",
        ),
        ("{name: format, tags: [a, b, a]}", "rewards.0.tags: each section once, got 'a' twice"),
        ("{name: answer, right: ten}", "rewards.0.right: expected a number, got 'ten' (a string)"),
        (
            "{name: format, tags: [<think>]}",
            "rewards.0.tags.0: must have the form ^[A-Za-z][A-Za-z0-9_-]{0,39}$, got '<think>'",
        ),
        (
            "{name: regex, pattern: '(a'}",
            "rewards.0.pattern: no regular expression: missing ) at position 2, got '(a'",
        ),
        (
            "length",
            "rewards.0: shape 'soft_overlong' needs 'max', tokens: the longest response, as the sampler's "
            "max_new_tokens",
        ),
        (
            "{name: constraints, min_words: 3, max_words: 2}",
            "rewards.0: min_words 3 is more than max_words 2; swap them",
        ),
        (
            "math",
            "rewards.0: reward 'math' needs the package math-verify, which is not installed; run: pip install "
            "'alignkit[math]'",
        ),
    ],
)
def test_one_line(tmp_path, monkeypatch, reward, said):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "math_verify" else found(name, *more)
    )
    path = tmp_path / "r.yaml"
    path.write_text(f"extends: alignkit:methods/grpo\nrewards: [{reward}]\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value) == f"{path}:2: {said}"
