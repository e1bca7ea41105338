"""What the recipe's rewards say of held-out samples."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from alignkit.evaluation.rewards import Rewards

MEASURE = Rewards(name="rewards")
SEVERAL = [
    ({"answer": 1.0, "form": None}, None),
    ({"answer": 0.0, "form": 2.0}, 1.0),
    ({"answer": 1.0, "form": 1.0}, 1.5),
]


def records(scores: list[Any]) -> list[dict[str, float]]:
    held_out = SimpleNamespace(rows=[None] * 3, scores_of_rewards=scores)
    return [dict(record) for record in MEASURE.per_row(held_out)]


def test_several_rewards_are_told_apart() -> None:
    found = records(SEVERAL)
    assert found == [
        {"reward/answer": 1.0},
        {"reward/answer": 0.0, "reward/form": 2.0, "reward": 1.0},
        {"reward/answer": 1.0, "reward/form": 1.0, "reward": 1.5},
    ]
    assert MEASURE.counts(found) == {"samples": 3.0, "reward/answer": pytest.approx(2 / 3), "reward/form": 1.5}
    (value,) = MEASURE.values
    assert value.summary.of(found)[0] == 1.25  # of those that have one


def test_a_single_reward_is_the_sum() -> None:
    found = records([({"world": score}, score) for score in (1.0, 0.0, None)])
    assert found == [{"reward": 1.0}, {"reward": 0.0}, {}] and MEASURE.counts(found) == {"samples": 3.0}
    assert list(MEASURE.notes(MEASURE.counts(found))) == ["3 sampled responses"]


def test_without_rewards_there_is_nothing_to_say() -> None:
    assert records([]) == [{}, {}, {}] and MEASURE.counts(records([])) == {}
    scene = SimpleNamespace(scoring=SimpleNamespace(method=SimpleNamespace(drawing=None)))
    assert MEASURE.count(scene) == 0
