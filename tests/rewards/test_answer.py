"""Which answer is read of a response, and what it is worth beside the data's."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from alignkit.rewards.answer import Answer
from alignkit.rewards.base import Sample

VALUES = {"right": 1.0, "wrong": -0.5, "unparsable": -2.0}


def sample(response, gold="18", prompt="How many?"):
    return Sample(prompt, response, np.arange(3), True, {"answer": gold})


def value(response, gold="18", prompt="How many?", **fields):
    (found,) = Answer(**{**VALUES, **fields}).score([sample(response, gold, prompt)])
    return found


@pytest.mark.parametrize(
    ("response", "gold", "wanted"),
    [
        ("9 + 9 = 18\n#### 18", "18", 1),
        ("#### 17, no: #### 18.00", "18", 1),
        ("#### $1,234", "1234", 1),
        ("####-3", -3, 1),
        ("#### 18", "She has 9 and 9.\n#### 18", 1),
        ("#### 0.5", 0.5, 1),
        ("#### 17", "18", -0.5),
        ("The answer is 18.", "18", -2),
        ("", "18", -2),
        ("####", "18", -2),
        ("#### 18" + " " * 293, "18", 1),
        ("#### 18" + " " * 294, "18", -2),
        ("#### 18", "#### eighteen", None),
        ("#### 18", "", None),
        ("#### 18", None, None),
        ("#### 18", ["18"], None),
        ("#### 1", True, None),
        ("#### 1", float("nan"), None),
    ],
)
def test_gsm8k(response, gold, wanted):
    """The mark and the number take 7 characters, so 293 more are the last at which the mark is seen."""
    assert value(response, gold) == wanted


@pytest.mark.parametrize(
    ("response", "wanted"),
    [
        ("12, then 18.", 1),
        ("18 or 19", -0.5),
        ("it costs $18.0!", 1),
        ("21-3-18", 1),
        ("it is -18", -0.5),
        ("x", -2),
    ],
)
def test_last_number(response, wanted):
    assert value(response, extract="last_number") == wanted


@pytest.mark.parametrize(
    ("response", "gold", "wanted"),
    [
        ("So <answer> the  Cat\n</answer>.", "The cat", 1),
        ("<answer>1,000</answer>", 1000, 1),
        ("<answer>dog</answer>", "cat", -0.5),
        ("<answer>a cat</answer>", "cat", -0.5),
        ("<answer>cat</answer> <answer>cat</answer>", "cat", -2),
        ("<answer>cat", "cat", -2),
        ("cat</answer>", "cat", -2),
        ("<answer> </answer>", "cat", -2),
        ("cat", "cat", -2),
        ("<answer>cat</answer>", " ", None),
    ],
)
def test_tag(response, gold, wanted):
    assert value(response, gold, extract="tag") == wanted


def test_exact():
    assert [value(text, "Yes", extract="exact") for text in (" yes\n", "yes, it is", "")] == [1, -0.5, -2]


@pytest.mark.parametrize(
    ("response", "prompt", "wanted"),
    [
        ("<think>Zoey lies.</think>\n<answer>Zoey is a knave</answer>", "Who?", 2),
        ("Zoey lies.</think><answer>Zoey is a knave</answer>", "Who? <think>\n", 2),
        ("<think>Zoey lies.</think><answer>Zoey is a knight</answer>", "Who?", -1.5),
        ("<answer>Zoey is a knave</answer>", "Who?", -2),
        ("<think>x</think> so <answer>Zoey is a knave</answer>", "Who?", -2),
        ("<think>x</think><answer>Zoey is a knave</answer> yes", "Who?", -2),
    ],
)
def test_logic_rl(response, prompt, wanted):
    fields = {"extract": "tag", "after": "think", "right": 2.0, "wrong": -1.5, "unparsable": -2.0}
    assert value(response, "Zoey is a knave", prompt, **fields) == wanted


def test_the_column_is_asked_for():
    reward = Answer(column="target", extract="exact")
    assert reward.columns() == {"target"}
    assert reward.score([Sample("?", "a", np.arange(1), True, {"target": "A"})]) == [1]


@pytest.mark.parametrize(
    "fields", [{"extract": "flexible"}, {"tag": "an answer"}, {"after": "<think>"}, {"column": ""}]
)
def test_what_cannot_be_is_refused(fields):
    with pytest.raises(ValidationError):
        Answer.model_validate(fields)
