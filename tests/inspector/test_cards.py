"""From the lines that a run wrote to the cards of a page."""

from __future__ import annotations

import math

import numpy as np
import pytest
from inspector.inspected import cards, line, moments, response

from alignkit.inspector.cards import (
    ADVANTAGE,
    AFTER,
    BEFORE,
    CHANGE,
    LOGP,
    WEIGHT,
    WEIGHT_BEFORE,
    cards_of_rows,
    cards_of_samples,
    source_of,
)


def test_log_ratios_and_margins():
    """The third token of chosen moves by 2, -1 and 0.5; the reference is -1 everywhere."""
    found = cards()
    assert [(card.before, card.after) for card in found] == [(0.0, 2.0), (0.0, -1.0), (0.0, 0.5)]
    chosen = found[0].panes[0]
    assert chosen.columns[BEFORE].tolist() == [0, 0, 0, 0]
    assert chosen.columns[AFTER].tolist() == chosen.columns[CHANGE].tolist() == [0, 0, 2, 0]
    assert WEIGHT_BEFORE not in chosen.columns  # they are the same
    assert list(chosen.columns) == [WEIGHT, BEFORE, AFTER, CHANGE, LOGP, "entropy"]


def test_ess_and_the_rank_of_the_planted_token():
    """4^2 / (3 x 0.25 + 6.25) / 4 = 16 / 7 / 4; on rejected the planted token leads in the first two rows, and is
    behind another one in the third, 1.2 to 1.4."""
    found = cards()
    assert found[0].panes[0].ess == pytest.approx(16 / 7 / 4)
    assert [card.decisive_rank for card in found] == [1.0, 1.0, 2.0]
    assert found[0].ess == min(pane.ess for pane in found[0].panes)


def test_before_training_alone():
    (first, *_) = cards_of_rows({"before": moments()["before"]}, {})
    assert (first.before, first.latest) == (0.0, 0.0) and math.isnan(first.after)
    assert CHANGE not in first.panes[0].columns and AFTER not in first.panes[0].columns


def test_other_tokens_at_the_other_moment_are_not_compared():
    old = line(0, response(["a", "b"], [1, 1], [-1, -1], ids=[1, 2]), response(["a"], [1], [-1], ids=[1]))
    new = line(0, response(["a", "c"], [1, 1], [-1, -3], ids=[1, 3]), response(["a"], [1], [-2], ids=[1]))
    (card,) = cards_of_rows({"before": [old], "after": [new]}, {})
    assert CHANGE not in card.panes[0].columns and card.panes[1].columns[CHANGE].tolist() == [-1]


def test_an_anchor_that_was_drawn_anew_is_the_latest_one():
    """The reference is -1 everywhere: -3 + 1 after training; nothing is compared with the one of before."""
    lines = []
    for ids, logp in (([1, 2], -1), ([1, 3], -3)):
        lines.append(line(0, *(response(["a"], [1], [-1], ids=[1]) for _ in range(2))))
        lines[-1]["responses"]["anchor"] = response(["a", "b"], [1, 1], [logp, logp], ids=ids)
    (card,) = cards_of_rows({"before": lines[:1], "after": lines[1:]}, {})
    (*_, anchor) = card.panes
    assert (anchor.name, anchor.ids, anchor.columns[AFTER].tolist()) == ("anchor", [1, 3], [-2, -2])
    assert not {BEFORE, CHANGE} & anchor.columns.keys()


def test_without_a_reference_margins_are_of_log_probs():
    sides = [response(["a"], [1], [value], ids=[1]) for value in (-1.0, -3.0)]
    for side in sides:
        del side["reference"]
    (card,) = cards_of_rows({"after": [line(0, *sides)]}, {})
    assert card.after == 2.0 and BEFORE not in card.panes[0].columns


def test_unknown_numbers_are_nan():
    (card,) = cards_of_rows({"after": [line(0, response(["a"], [None], [-1]), response(["b"], [1.0], [-1]))]}, {})
    assert math.isnan(card.panes[0].columns[WEIGHT][0])


def test_samples_stand_by_the_group():
    def sample(where, reward, finished=True, **more):
        said = {
            "step": 3,
            "where": where,
            "prompt": "P",
            "response": "ab",
            "finished": finished,
            "rewards": {"r": reward},
        }
        return said | {"reward": reward, "advantage": 0.5, "tokens": ["a", "b"], "weights": [1.5, 0.5], **more}

    lines = [sample("f:1", 1.0, advantages=[0.25, 0.75], ids=[7, 8]), sample("f:1", 0.0, finished=False)]
    lines += [sample("f:2", None) | {"advantage": None, "weights": None}]
    first, second = cards_of_samples(lines)
    assert [pane.name for pane in first.panes] == ["sample 1", "sample 2"] and first.cut == ["sample 2"]
    assert first.panes[0].columns[ADVANTAGE].tolist() == [0.25, 0.75]
    assert first.panes[1].columns[ADVANTAGE].tolist() == [0.5, 0.5]
    assert first.panes[0].notes == ["reward 1", "advantage +0.5"]
    assert second.panes[0].notes == ["reward not scored", "not trained on"] and second.panes[0].weights is None
    assert (first.key, second.key) == ("s3.0", "s3.1")


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("data/hh.jsonl:12", "hh.jsonl"),
        ("hh.parquet:row 3", "hh.parquet"),
        ("org/set:row 3", "org/set"),
        ("builtin:world:eval row 3", "builtin:world:eval"),
    ],
)
def test_sources(where, source):
    assert source_of(where) == source


def test_labelled_responses_have_their_label():
    one = line(0, response(["a"], [1], [-1]), response(["b"], [1], [-1]), label=False)
    one["responses"] = {"completion": one["responses"]["chosen"]}
    (card,) = cards_of_rows({"after": [one]}, {})
    assert card.label is False and math.isnan(card.after) and [pane.name for pane in card.panes] == ["completion"]


def test_rows_are_in_their_order():
    lines = moments()
    assert [card.key for card in cards_of_rows({"after": lines["after"][::-1]}, {})] == ["r0", "r1", "r2"]
    assert np.isfinite(cards()[0].ess)
