"""What rewards give, what is said of those that fail, and when a run stops because too little can be scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from slow_rewards import Told, sample

from alignkit.errors import RewardError
from alignkit.loop.signals import Interrupted
from alignkit.rewards.asking import ask
from alignkit.rewards.base import Reward, Sample
from alignkit.rewards.judge import Judge, Tally


class Gives(Reward):
    """Gives a thing whatever it is asked."""

    def score(self, samples: Sequence[Sample]) -> Any:
        return GIVEN[self.title]


GIVEN: dict[str, Any] = {}


class Stopped(Reward):
    """Meets a signal."""

    def score(self, samples: Sequence[Sample]) -> Any:
        raise Interrupted(15)


def gives(thing: object) -> Gives:
    """A reward that gives `thing`."""
    GIVEN["given"] = thing
    return Gives(name="gives", label="given")


def test_scores_come_by_reward_in_the_order_of_the_samples():
    judge = Judge([Told(name="a"), Told(name="b", scale=(2.0, 3.0))])
    with judge:
        assert judge([sample("say 1"), sample("none"), sample("say -2")]) == [[1.0, None, -2.0], [6.0, None, -12.0]]
        assert judge([]) == [[], []]


def test_numbers_of_numpy_and_torch_are_plain_ones_afterwards():
    [scores] = Judge([gives(np.array([True, False]))])([sample(), sample()])
    assert [type(score) for score in scores] == [float, float]
    assert scores == [1.0, 0.0]
    assert Judge([gives(torch.tensor([0.5, -1.0]))])([sample(), sample()]) == [[0.5, -1.0]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1.0], "returns 1 scores for 2 samples"),
        (1.0, "returns float; expected a list of 2"),
        (None, "returns NoneType; expected a list of 2"),
        ([1.0, math.nan], "returns nan (row 5 of the data); expected a finite number, or None where there is no score"),
        ([math.inf, 1.0], "returns inf (row 4 of the data); expected a finite number, or None where there is no score"),
        (
            [-1e300, 1.0],
            "returns -1e+300 (row 4 of the data); expected a number of at most 1e+30 in size, or None where there is "
            "no score",
        ),
        ([1.0, "2"], "returns '2' (row 5 of the data); expected a finite number, or None where there is no score"),
        ([1.0, [2]], "returns [2] (row 5 of the data); expected a finite number, or None where there is no score"),
    ],
)
def test_what_is_no_score_is_told_in_a_line(given: object, said: str):
    with pytest.raises(RewardError) as caught:
        Judge([gives(given)])([sample(group=3), sample(group=4)])
    assert str(caught.value) == f"reward 'given' {said}"


def test_an_error_is_told_with_its_place_in_the_rewards_file():
    lines = Path(Told.score.__code__.co_filename).read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "raise KeyError" in text)
    with pytest.raises(RewardError) as caught:
        Judge([Told(name="told", label="mine")])([sample("say 1", group=6), sample("raise")])
    assert str(caught.value) == (
        f"reward 'mine' raises KeyError: 'no such column' (slow_rewards.py:{line}, "
        "2 samples, the first of row 7 of the data)"
    )


def test_a_reward_that_ends_the_program_is_told_and_a_signal_is_not():
    with pytest.raises(RewardError, match=r"^reward 'told' raises SystemExit: bye \(slow_rewards\.py:\d+, row 3 of"):
        Judge([Told(name="told")])([sample("leave", group=2)])
    with pytest.raises(Interrupted):
        ask(Stopped(name="stopped"), [sample()])


def test_a_run_stops_when_more_than_a_twentieth_cannot_be_scored():
    rewards = [Told(name="told"), Told(name="told", label="shy", abstains=True)]
    tally = Tally(rewards)
    tally.add([[None] * 4 + [1.0] * 60, [None] * 64])
    tally.check()  # 4 of 64 are more than a twentieth, but few
    tally.add([[None], [None]])
    with pytest.raises(RewardError) as caught:
        tally.check()
    assert str(caught.value).startswith("rewards.told: 5 of 65 samples could not be scored, more than 5%; ")
    tally.add([[1.0] * 35, [1.0] * 35])
    tally.check()  # 5 of 100 are a twentieth
    other = Tally(rewards)
    other.load_state(tally.state())
    assert other.state() == {"told": [100, 5]}
