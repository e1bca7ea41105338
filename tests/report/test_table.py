"""The before/after table at two widths, and a verdict for each thing that can happen."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from alignkit.evaluation.config import BUILT_IN
from alignkit.report.table import before_after_table, verdict

BEFORE = {
    "preference_accuracy": 0.5,
    "ranking_accuracy": 0.48,
    "margin": 0.0,
    "kl": 0.0,
    "kl_se": 0.0,
    "true_reward": 0.5,
    "true_reward_se": 0.03,
    "pairs": 256.0,
    "samples": 128.0,
}
AFTER = {
    "preference_accuracy": 0.75,
    "ranking_accuracy": 0.70,
    "margin": 2.31,
    "kl": 0.84,
    "kl_se": 0.05,
    "true_reward": 0.79,
    "true_reward_se": 0.04,
    "weight_auc": 0.83,
    "pairs": 256.0,
    "samples": 128.0,
}

NAN = float("nan")
CHANGE = {
    "preference_accuracy": 0.25,
    "preference_accuracy_se": 0.03,
    "true_reward": 0.29,
    "true_reward_se": 0.02,
}
"""As measured by row: less than the errors of before and after together, as the prompts are the same."""


def shown(before, after, width=100, change=None) -> list[str]:
    console = Console(record=True, width=width, color_system=None, file=io.StringIO())
    console.print(before_after_table(BUILT_IN, before, after, CHANGE if change is None else change, width))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_whole_at_100_columns():
    """The error of a change is the paired one, of the KL that of the two as if independent."""
    assert shown(BEFORE, AFTER) == [
        "Held-out data, before and after training",
        "╭───────────────────────┬───────────────┬───────────────┬────────────────╮",
        "│ measure               │        before │         after │         change │",
        "├───────────────────────┼───────────────┼───────────────┼────────────────┤",
        "│ preference accuracy   │         0.500 │         0.750 │ +0.250 +-0.030 │",
        "│ ranking accuracy      │         0.480 │         0.700 │         +0.220 │",
        "│ margin, nats          │         0.000 │         2.310 │         +2.310 │",
        "│ KL to reference, nats │ 0.000 +-0.000 │ 0.840 +-0.050 │ +0.840 +-0.050 │",
        "│ true reward           │ 0.500 +-0.030 │ 0.790 +-0.040 │ +0.290 +-0.020 │",
        "│ AUC of token weights  │             - │         0.830 │              - │",
        "╰───────────────────────┴───────────────┴───────────────┴────────────────╯",
        "256 pairs; 128 sampled responses; +- is one standard error",
    ]


def test_at_60_columns_errors_stand_below_their_numbers():
    assert shown(BEFORE, AFTER, width=60) == [
        "Held-out data, before and after training",
        "╭───────────────────────┬─────────┬─────────┬─────────╮",
        "│ measure               │  before │   after │  change │",
        "├───────────────────────┼─────────┼─────────┼─────────┤",
        "│ preference accuracy   │   0.500 │   0.750 │  +0.250 │",
        "│                       │         │         │ +-0.030 │",
        "│ ranking accuracy      │   0.480 │   0.700 │  +0.220 │",
        "│ margin, nats          │   0.000 │   2.310 │  +2.310 │",
        "│ KL to reference, nats │   0.000 │   0.840 │  +0.840 │",
        "│                       │ +-0.000 │ +-0.050 │ +-0.050 │",
        "│ true reward           │   0.500 │   0.790 │  +0.290 │",
        "│                       │ +-0.030 │ +-0.040 │ +-0.020 │",
        "│ AUC of token weights  │       - │   0.830 │       - │",
        "╰───────────────────────┴─────────┴─────────┴─────────╯",
        "256 pairs; 128 sampled responses; +- is one standard error",
    ]


@pytest.mark.parametrize("width", [40, 50])
def test_in_a_narrow_terminal_names_wrap_and_no_number_is_cut(width):
    lines = shown(BEFORE, AFTER, width=width)
    assert max(map(len, lines)) <= width and not any("…" in line for line in lines)
    for number in ("0.500", "+0.250", "+-0.020", "0.830"):
        assert any(f" {number} " in line for line in lines)


def test_rows_without_critical_tokens_are_counted():
    lines = shown({}, {"weight_auc": 0.8, "weight_auc_rows": 90.0, "pairs": 100.0})
    assert lines[-1] == "100 pairs; token weights of 90: the others have no critical token left"


def test_one_row_has_no_standard_error():
    lines = shown({"margin": 0.0, "margin_se": NAN}, {"margin": 1.0, "margin_se": NAN, "pairs": 1.0}, change={})
    assert "│ margin, nats │  0.000 │ 1.000 │ +1.000 │" in lines


def test_only_what_was_measured_has_a_row():
    assert shown({"margin": 0.0}, {"margin": -12.5, "pairs": 1000.0}, change={}) == [
        "Held-out data, before and after training",
        "╭──────────────┬────────┬─────────┬─────────╮",
        "│ measure      │ before │   after │  change │",
        "├──────────────┼────────┼─────────┼─────────┤",
        "│ margin, nats │  0.000 │ -12.500 │ -12.500 │",
        "╰──────────────┴────────┴─────────┴─────────╯",
        "1,000 pairs",
    ]


def test_where_nothing_was_measured_there_is_no_table():
    assert shown({}, {}, change={}) == []


def test_the_verdict_of_a_good_run():
    """Paired errors where they are known; of the ranking there is none."""
    assert verdict(BEFORE, AFTER, CHANGE) == (
        "True reward rose from 0.500 to 0.790 (+0.290, standard error 0.020). "
        "Held-out preference accuracy rose from 0.500 to 0.750 (+0.250, standard error 0.030). "
        "Held-out ranking accuracy changed by +0.220; without a standard error that may be noise."
    )


def test_a_reward_is_judged_unless_it_is_the_true_one():
    before, after = {"reward": 0.25, "reward_se": 0.05}, {"reward": 0.5, "reward_se": 0.05, "samples": 32.0}
    change = {"reward": 0.25, "reward_se": 0.06}
    assert (
        verdict(before, after, change)
        == "Reward of sampled responses rose from 0.250 to 0.500 (+0.250, standard error 0.060)."
    )
    true = {"true_reward": 0.25, "true_reward_se": 0.05}
    assert "Reward of" not in verdict({**before, **true}, {**after, **true, "true_reward": 0.5}, change)


def test_a_rise_of_2_8_standard_errors_is_no_noise():
    """256 ties became 0.586, as in `tests/evaluation/test_summary.py`; before, a coin's error was given to the ties."""
    before = {"preference_accuracy": 0.5, "preference_accuracy_se": 0.0}
    after = {"preference_accuracy": 0.5859, "preference_accuracy_se": 0.0308, "pairs": 256.0}
    change = {"preference_accuracy": 0.0859, "preference_accuracy_se": 0.0308}
    sentence = "Held-out preference accuracy rose from 0.500 to 0.586 (+0.086, standard error 0.031)."
    assert verdict(before, after, change) == verdict(before, after) == sentence


@pytest.mark.parametrize(("pairs", "claims"), [(1.0, False), (19.0, False), (20.0, True)])
def test_nothing_is_claimed_of_a_few_rows(pairs, claims):
    """All of them rose alike, so the error is 0, which says nothing of so few."""
    change = {"preference_accuracy": 0.5, "preference_accuracy_se": 0.0}
    found = verdict({"preference_accuracy": 0.5}, {"preference_accuracy": 1.0, "pairs": pairs}, change)
    if claims:
        assert found == "Held-out preference accuracy rose from 0.500 to 1.000 (+0.500, standard error 0.000)."
    else:
        assert found == (
            f"Held-out preference accuracy changed by +0.500; {pairs:.0f} pairs are too few for a claim (20)."
        )


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        (0.61, "True reward rose from 0.500 to 0.610 (+0.110, standard error 0.050)."),
        (0.59, "True reward did not rise beyond the noise (+0.090, standard error 0.050)."),
        (0.50, "True reward did not rise beyond the noise (+0.000, standard error 0.050)."),
        (0.41, "True reward did not rise beyond the noise (-0.090, standard error 0.050)."),
        (0.39, "True reward fell from 0.500 to 0.390 (-0.110, standard error 0.050)."),
        (float("nan"), "True reward is not a number: the policy is broken."),
    ],
)
def test_the_reward_must_move_two_standard_errors(after, sentence):
    """The bar is 2 x sqrt(0.03^2 + 0.04^2) = 0.10."""
    before = {"true_reward": 0.5, "true_reward_se": 0.03}
    assert verdict(before, {"true_reward": after, "true_reward_se": 0.04}) == sentence


def test_no_standard_error_no_claim():
    sentence = "True reward changed by +0.300; without a standard error that may be noise."
    assert verdict({"true_reward": 0.5}, {"true_reward": 0.8}) == sentence
    assert verdict({"true_reward": 0.5, "true_reward_se": 0.1}, {"true_reward": 0.8}) == sentence


def test_exactly_no_change_is_no_rise_even_without_noise():
    values = {"true_reward": 1.0, "true_reward_se": 0.0}
    assert verdict(values, values) == "True reward did not rise beyond the noise (+0.000, standard error 0.000)."


def test_fallen_accuracy_and_large_kl_are_said():
    before = {"preference_accuracy": 0.6, "kl": 0.0}
    change = {"preference_accuracy": -0.2, "preference_accuracy_se": 0.02}
    assert verdict(before, {"preference_accuracy": 0.4, "kl": 7.25, "pairs": 1200.0}, change) == (
        "Held-out preference accuracy fell from 0.600 to 0.400 (-0.200, standard error 0.020). "
        "KL to the reference is large: 7.25 nats per response (above 5), so read samples before you trust the rest; "
        "a larger beta, a lower learning rate or fewer steps keep the policy closer."
    )


def test_what_two_measures_say_alike_is_said_once():
    lines = shown({"reward": 0.5, "kl": 0.0}, {"reward": 0.5, "kl": 1.0, "samples": 64.0}, change={})
    assert lines[-1] == "64 sampled responses"


def test_the_verdict_speaks_of_the_recipe_s_rewards():
    before, after = {"reward": 0.2, "reward_se": 0.04}, {"reward": 0.7, "reward_se": 0.03, "samples": 64.0}
    assert verdict(before, after) == (
        "Reward of sampled responses rose from 0.200 to 0.700 (+0.500, standard error 0.050)."
    )


def test_a_kl_of_five_is_not_yet_large_and_one_that_is_not_finite_is():
    assert verdict({}, {"kl": 5.0}) == "Nothing was measured before and after, so nothing can be said."
    assert verdict({}, {"kl": float("inf")}).startswith("KL to the reference is large: inf nats per response")
    assert verdict({}, {"kl": float("nan")}).startswith("KL to the reference is large: nan nats per response")
