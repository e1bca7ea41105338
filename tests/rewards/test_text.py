"""Rewards of a response's text: its form, patterns in it, demands that it meets."""

from __future__ import annotations

import time

import numpy as np
import pytest
from pydantic import ValidationError

from alignkit.rewards import regex as patterns
from alignkit.rewards.base import Sample
from alignkit.rewards.constraints import Constraints
from alignkit.rewards.demands import Demands
from alignkit.rewards.format import Format
from alignkit.rewards.regex import Regex


def sample(response, prompt="?", **columns):
    return Sample(prompt, response, np.arange(3), True, columns)


def messages(cls, fields):
    with pytest.raises(ValidationError) as caught:
        cls.model_validate(fields)
    return [one["msg"] for one in caught.value.errors()]


# --- format ---


@pytest.mark.parametrize(
    ("response", "fits"),
    [
        ("<think>a\nb</think><answer>c</answer>", True),
        ("\n<think></think>\n\n<answer></answer>\n", True),
        ("<think>a</think>", False),
        ("<answer>c</answer><think>a</think>", False),
        ("<think>a<answer>c</answer></think>", False),
        ("<think>a</think><answer>c</answer>.", False),
        ("Hm. <think>a</think><answer>c</answer>", False),
        ("<think>a</think>b<answer>c</answer>", False),
        ("<think>a</think><answer>c</answer><answer>c</answer>", False),
        ("<think>a</think></think><answer>c</answer>", False),
        ("</think><think>a<answer>c</answer>", False),
        ("a</think><answer>c</answer>", False),
        ("", False),
    ],
)
def test_form(response, fits):
    assert Format(right=1.0, wrong=-1.0).score([sample(response)]) == [1 if fits else -1]


def test_a_prompt_may_have_begun_the_response():
    texts = ("a</think><answer>c</answer>", "<think>a</think><answer>c</answer>")
    assert Format().score([sample(text, "Why?\n<think>\n") for text in texts]) == [1, 0]


def test_other_tags_and_text_after_them():
    thought = Format(tags=("think",), rest=True)
    texts = ("<think>a</think> So b.", "So b.", "<think>a</think><think>")
    assert thought.score([sample(text) for text in texts]) == [1, 0, 0]
    assert Format(tags=("reasoning", "answer")).score([sample("<reasoning>a</reasoning><answer>b</answer>")]) == [1]
    assert messages(Format, {"tags": []}) and messages(Format, {"tags": ["<think>"]})


# --- regex ---


def test_patterns_may_lie_anywhere_or_be_all_of_it():
    texts = ("12", "it is 12", "it")
    for mode, wanted in (("search", [2, 2, -1]), ("fullmatch", [2, -1, -1])):
        reward = Regex(pattern=r"\d+", mode=mode, right=2.0, wrong=-1.0)
        assert reward.score([sample(text) for text in texts]) == wanted


def test_what_is_no_pattern_is_refused():
    assert messages(Regex, {"pattern": "(a"}) == ["no regular expression: missing ) at position 2, got '(a'"]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("a{99999999}", "counts that multiply to more than 100,000, got 'a{99999999}'"),
        ("(?:(?:a{99}){99}){99}", "counts that multiply to more than 100,000, got '(?:(?:a{99}){99}){99}'"),
        ("(a|" * 199 + "b" + ")*" * 199, "no regular expression: nested too deeply, got '(a|(a|"),
    ],
)
def test_a_pattern_that_takes_gigabytes_to_compile_is_refused(pattern, said):
    (found,) = messages(Regex, {"pattern": pattern})
    assert found.startswith(said)


def test_counts_are_taken():
    assert Regex(pattern=r"\d{4}-\d{2}-\d{2}|a{0,5000}").score([sample("on 2026-01-02")]) == [1]


def test_a_search_that_never_ends_gives_no_score(monkeypatch):
    monkeypatch.setattr(patterns, "SECONDS", 0.05)
    before = time.monotonic()
    assert Regex(pattern="(a|aa)+$").score([sample("a" * 80 + "b"), sample("aa")]) == [None, 1]
    assert time.monotonic() - before < 5


# --- constraints ---

TEXT = "Dear all,\n- first-rate news\n* it's done!\n\nBest wishes. Ann"
"""Ten words and three sentences: a hyphen and an apostrophe join words, bullets do not end a sentence."""


@pytest.mark.parametrize(
    ("demands", "met"),
    [
        ({"min_words": 9, "max_words": 9}, [True, True]),
        ({"min_words": 10, "max_words": 8}, None),
        ({"max_words": 8}, [False]),
        ({"min_sentences": 3, "max_sentences": 3}, [True, True]),
        ({"min_sentences": 4}, [False]),
        ({"must": ["dear ALL", "new"]}, [True, False]),
        ({"must_not": ["new", "done"]}, [True, False]),
        ({"case": "lower"}, [False]),
        ({"bullets": 2}, [True]),
        ({"bullets": 0}, [False]),
        ({"is_json": True}, [False]),
        ({"ends_with": "Ann "}, [True]),
        ({"ends_with": "wishes."}, [False]),
        ({"no_commas": True}, [False]),
    ],
)
def test_demands(demands, met):
    """`Dear all first-rate news it's done Best wishes Ann` are nine words."""
    if met is None:
        assert messages(Demands, demands) == ["min_words 10 is more than max_words 8; swap them"]
    else:
        assert list(Demands.model_validate(demands).met(TEXT)) == met


def test_demands_of_other_texts():
    assert list(Demands(case="upper").met("ALL 1!")) == list(Demands(case="lower").met("all 1!")) == [True]
    assert [*Demands(is_json=True).met('{"a": [1]}'), *Demands(is_json=True).met("[" * 100_000)] == [True, False]
    assert list(Demands(max_words=0, max_sentences=0).met(" \n")) == [True, True]
    assert list(Demands(must=("c++",)).met("in C++, say")) == [True]


def test_the_reward_is_the_share_that_is_met():
    demands = {"max_words": 2, "no_commas": True, "must": ["yes"]}
    texts = ("Yes, of course", "yes indeed", "no, sir, no")
    samples = [sample(text) for text in texts]
    assert Constraints.model_validate(demands).score(samples) == [1 / 3, 1, 0]
    assert Constraints.model_validate({**demands, "all_or_nothing": True}).score(samples) == [0, 1, 0]


def test_a_row_has_demands_of_its_own():
    reward = Constraints(column="constraints", no_commas=True)
    assert reward.columns() == {"constraints"} and Constraints(no_commas=True).columns() == frozenset()
    of = [
        {"max_words": 1},
        {"max_words": 2, "must": ["b"], "case": None},
        {},
        {"max_wrods": 1},
        {"max_words": "1"},
        "x",
    ]
    assert reward.score([sample("a b", constraints=one) for one in [*of, None]]) == [0.5, 1, 1, None, None, None, None]


def test_a_row_of_which_nothing_is_demanded_has_no_score():
    assert Constraints(column="constraints").score([sample("a", constraints={"case": None})]) == [None]


def test_a_recipe_demands_something():
    (said,) = messages(Constraints, {})
    assert said.startswith("nothing is demanded; give a column or some of min_words, max_words, min_sentences, ")
