"""What is asked of math-verify, and what its answers are worth; the last test asks the real one."""

from __future__ import annotations

import sys
import threading

import math_stand_in
import numpy as np
import pytest

from alignkit.rewards import rewards
from alignkit.rewards.base import Sample
from alignkit.rewards.math import Math


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", math_stand_in)
    math_stand_in.asked.clear()
    return math_stand_in.asked


def sample(response, gold):
    return Sample("?", response, np.arange(3), True, {"answer": gold})


def test_what_answers_are_worth(asked):
    reward = Math(right=1.0, wrong=-0.5, unparsable=-1.0)
    pairs = [
        ("7, no: 42", "42"),
        ("41", 42),
        ("none", "42"),
        ("42", "x"),
        ("42", None),
        (r"\boxed{42} of 43", "#### 42"),
    ]
    assert reward.slow and reward.columns() == {"answer"}
    assert reward.score([sample(*pair) for pair in pairs]) == [1, -0.5, -1, None, None, 1]


def test_what_is_asked(asked):
    """Limits are the worker's: one of math-verify's own would read as a wrong answer."""
    Math().score([sample("It is 42.", "6 x 7"), sample("42", r"\boxed{42}"), sample("42", "$42$")])
    parsed, verified = [one for one in asked if "text" in one], [one for one in asked if "gold" in one]
    assert [one["text"] for one in parsed] == ["$6 x 7$", "It is 42.", r"\boxed{42}", "42", "$42$", "42"]
    assert {(one["parsing_timeout"], one["fallback_mode"]) for one in parsed} == {(0, "no_fallback")}
    assert [kind.boxed_match_priority for kind in parsed[0]["extraction_config"][:1]] == [0]
    assert [one["timeout_seconds"] for one in verified] == [0] * 3


def test_without_the_package_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = (
        r"reward 'math' needs the package math-verify, which is not installed; run: pip install 'alignkit\[math\]'"
    )
    with pytest.raises(ValueError, match=message):
        rewards.build("math", {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("response", "gold", "wanted"),
    [
        ("so $1+x$", "x+1", 1),
        (r"Thus \boxed{\frac12}.", "0.5", 1),
        ("The answer is 1000.", "1,000", 1),
        (r"First $3$, then \boxed{7} and $9$.", "7", 1),
        (r"\boxed{(x-1)(x+1)}", "x^2-1", 1),
        (r"\boxed{8}", "7", 0),
        (r"$\frac{1}{0}$", "5", 0),
        ("no idea", "42", -1),
        ("", "42", -1),
        ("42", "???", None),
        ("42", "{{{", None),
    ],
)
def test_the_real_one(response, gold, wanted):
    found = []
    worker = threading.Thread(target=lambda: found.extend(Math(unparsable=-1.0).score([sample(response, gold)])))
    worker.start()
    worker.join()
    assert found == [wanted]
