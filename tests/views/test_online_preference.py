"""Which two responses of a group become a pair."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np
import pytest

from alignkit.data.rows import TokenRow
from alignkit.rollouts.rollout import Group, Rollout
from alignkit.views.online_preference import OnlinePreferenceTrainer


def group(*rewards: float | None, seed: int = 0) -> Group:
    """Responses of one token, their place."""
    rollouts = [
        Rollout(np.array([place], np.int32), np.zeros(1, np.float32), f"answer {place}", True, (reward,), reward)
        for place, reward in enumerate(rewards)
    ]
    row = TokenRow(7, "toy.jsonl:8", np.array([1, 2], np.int32), {}, text={"prompt": "Q"})
    return Group(row, tuple(rollouts), seed)


def pairs(*groups: Group, pairing: Literal["best_worst", "random"] = "best_worst") -> list[tuple[int, int]]:
    """Places of the chosen and the rejected response."""
    rows = OnlinePreferenceTrainer(name="online_preference", pairing=pairing).rows(groups)
    return [(int(row.responses["chosen"][0]), int(row.responses["rejected"][0])) for row in rows]


@pytest.mark.parametrize(
    ("rewards", "wanted"),
    [
        ((0.0, 1.0, 0.5), [(1, 0)]),
        ((1.0, 0.0, 1.0, 0.0), [(0, 1)]),  # the first of equals
        ((0.0, 1.0, 1.0, -2.0, -2.0), [(1, 3)]),
        ((None, 0.2, None, 0.1), [(1, 3)]),
        ((None, 0.2, None), []),
        ((None, None), []),
        ((0.5, 0.5), []),
        ((0.5, 0.5 + 9e-7), []),  # rounding
        ((0.5, 0.5 + 2e-6), [(1, 0)]),
        ((-1.0, -3.0), [(0, 1)]),
    ],
)
def test_the_best_against_the_worst(rewards: tuple[float | None, ...], wanted: list[tuple[int, int]]) -> None:
    assert pairs(group(*rewards)) == wanted


def test_a_random_pair_has_different_rewards() -> None:
    """Of 2, 1, 1, none: (0, 1) and (0, 2), each about half of 200 times; the seed decides."""
    many = [group(2.0, 1.0, 1.0, None, seed=seed) for seed in range(200)]
    found = pairs(*many, pairing="random")
    assert found == pairs(*many, pairing="random")
    counts = Counter(found)
    assert counts.keys() == {(0, 1), (0, 2)} and min(counts.values()) > 70
    assert pairs(group(1.0, 1.0), group(None, 1.0), pairing="random") == []


def test_a_pair_is_a_row_of_its_prompt() -> None:
    (row,) = OnlinePreferenceTrainer(name="online_preference").rows([group(1.0, 1.0), group(0.0, 1.0)])
    assert (row.index, row.where, row.prompt.tolist(), row.label) == (7, "toy.jsonl:8", [1, 2], None)
    assert row.text == {"prompt": "Q", "chosen": "answer 1", "rejected": "answer 0"}
