"""The true reward on hand-written responses, attempts to game it included, and the AUC of token weights by hand."""

from __future__ import annotations

import numpy as np
import pytest

from alignkit.world import WorldConfig, advice_words, generate, kind_of, reward, weight_auc, weight_mass
from alignkit.world.text import ADVICE, CARRIERS

PROMPT = "My fern has yellow leaves. What should I do?\n"


@pytest.mark.parametrize(
    "response",
    [
        "You should water it less.",
        "I would water it less. Cheers!",
        "Most plants need some patience. It helps to water it less. Young shoots have a rhythm.",
        " You should water it less.\n",
    ],
)
def test_right_advice_in_whole_sentences_scores_1(response):
    assert reward(PROMPT, response) == 1.0


@pytest.mark.parametrize(
    ("response", "why"),
    [
        ("You should water it more.", "wrong advice"),
        ("", "empty"),
        ("Most plants need some patience.", "no advice"),
        ("Cheers!", "no advice"),
        ("You should water it less. You should water it more.", "right and wrong advice"),
        ("You should water it less. I would water it less.", "the right advice twice"),
        (" ".join(f"You should {advice}." for advice in ADVICE.values()), "all advice"),
        ("water it less", "no sentence"),
        ("You should water it less", "unfinished"),
        ("You should water it less. Most plants", "cut off"),
        ("You should water it less water it less.", "broken sentence"),
        ("You should not water it less.", "not a sentence of this world"),
        ("You should water it less.You should wait.", "no blank between sentences"),
        ("You should  water it less.", "two blanks"),
        ("You should water it less. Cheers! Cheers!", "two sign-offs"),
        ("Cheers! You should water it less.", "words after the sign-off"),
        ("you should water it less.", "lower case"),
        ("You should water it less..", "a full stop alone"),
        ("You should water it less now.", "the banned word"),
        ("You should now water it less.", "the banned word elsewhere"),
    ],
)
def test_everything_else_scores_0(response, why):
    assert reward(PROMPT, response) == 0.0, why


def test_the_same_response_is_right_for_one_question_only():
    response = f"{CARRIERS[0]} {ADVICE['has slugs']}."
    assert reward("My fern has slugs. What should I do?\n", response) == 1.0
    assert reward(PROMPT, response) == 0.0
    assert reward("What is the capital of France?", response) == 0.0


def test_generated_chosen_scores_1_and_rejected_0():
    for split in ("train", "eval"):
        for row in generate(WorldConfig(pairs=300), split, seed=3):
            assert (reward(row.prompt, row.chosen), reward(row.prompt, row.rejected)) == (1.0, 0.0)


def test_weight_auc_by_hand():
    """First response: critical weights 3 and 1 against 2 and 1: wins 3>2, 3>1; 1<2; tie 1=1: (1+1+0+0.5)/4 = 0.625.

    Second: critical 5 against 1, 2: 1. Third has no critical token and is left out. Mean (0.625 + 1) / 2 = 0.8125.
    """
    weights = [np.array([3.0, 2.0, 1.0, 1.0]), np.array([1.0, 5.0, 2.0]), np.array([1.0, 9.0])]
    critical = [np.array([True, False, True, False]), np.array([False, True, False]), np.array([False, False])]
    assert weight_auc(weights, critical) == 0.8125


def test_weight_auc_of_equal_weights_is_chance_and_reversing_weights_mirrors_it():
    critical = [np.array([True, False, False]), np.array([False, True])]
    weights = [np.array([0.2, 0.7, 0.1]), np.array([0.5, 0.4])]
    assert weight_auc([np.ones(3), np.ones(2)], critical) == 0.5
    assert weight_auc([-w for w in weights], critical) == pytest.approx(1 - weight_auc(weights, critical), abs=1e-12)


def test_weight_auc_does_not_depend_on_the_scale_of_a_response():
    critical = [np.array([True, False, False]), np.array([False, True])]
    weights = [np.array([0.2, 0.7, 0.1]), np.array([0.5, 0.4])]
    assert weight_auc([weights[0] * 100, weights[1]], critical) == weight_auc(weights, critical)


def test_there_is_no_weight_auc_without_both_kinds():
    assert weight_auc([np.ones(2), np.ones(1)], [np.array([True, True]), np.array([False])]) is None


def test_weight_mass_by_hand():
    """(3 + 1) / 7 and 5 / 8; the third has no critical token, the fourth no weight. Mean (0.571429 + 0.625) / 2."""
    weights = [np.array([3.0, 2.0, 1.0, 1.0]), np.array([1.0, 5.0, 2.0]), np.array([1.0, 9.0]), np.zeros(2)]
    critical = [[True, False, True, False], [False, True, False], [False, False], [True, False]]
    masks = [np.array(one) for one in critical]
    assert weight_mass(weights, masks) == pytest.approx((4 / 7 + 5 / 8) / 2)
    assert weight_mass(weights[2:], masks[2:]) is None


def test_fork_auc_leaves_the_other_critical_tokens_out():
    """Critical 3 and 1 against 2 and 1; only the 3 is in doubt: it wins both. With the 1 alone: a loss and a tie."""
    weights, critical = [np.array([3.0, 2.0, 1.0, 1.0])], [np.array([True, False, True, False])]
    assert weight_auc(weights, critical, [np.array([True, True, False, False])]) == 1.0
    assert weight_auc(weights, critical, [np.array([False, False, True, True])]) == 0.25
    assert weight_auc(weights, critical, [np.array([False, True, False, True])]) is None


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        ("You should water it less.", "right"),
        ("The rose may have a rhythm. You should water it less. Most plants like a dusty home.", "right"),
        ("You should water it more.", "wrong advice"),
        ("You should water it more now.", "wrong advice"),
        ("You should water it less now.", "banned word"),
        ("Most plants need some patience.", "malformed"),
        ("You should water it less. I would water it less.", "malformed"),
        ("You should water it", "malformed"),
        ("The zebra may have a rhythm. You should water it less.", "malformed"),
    ],
)
def test_what_a_response_is(response, kind):
    assert kind_of(PROMPT, response) == kind


@pytest.mark.parametrize(
    ("response", "words"),
    [
        ("You should water it less.", ["water", "it", "less"]),
        (" Cheers! It helps to mist. I would wait.", ["mist"]),
        ("Most plants need some patience. I would water roots", ["water", "roots"]),
        ("The best step is to prune now. Cheers!", ["prune", "now"]),
        ("Most plants need some patience.", []),
        ("Good You should wait.", []),
        ("You should", []),
        ("", []),
    ],
)
def test_the_words_of_the_first_advice(response, words):
    assert [response[start:end] for start, end in advice_words(response)] == words
