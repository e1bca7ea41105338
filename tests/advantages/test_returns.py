"""REINFORCE++ by hand; the worked numbers are in tests/test_worked_methods.py."""

from __future__ import annotations

import pytest
import torch

from alignkit.advantages.base import Groups
from alignkit.advantages.returns import Returns


def groups(rewards, lengths, penalty=None, scored=None) -> Groups:
    """[P, G] rewards of responses with these lengths."""
    rewards_PG = torch.tensor(rewards, dtype=torch.float64)
    mask_PGT = torch.arange(max(map(max, lengths))) < torch.tensor(lengths)[:, :, None]
    penalty_PGT = None if penalty is None else torch.tensor(penalty, dtype=torch.float64)
    scored_PG = torch.ones_like(rewards_PG).bool() if scored is None else torch.tensor(scored)
    return Groups(rewards_PG, scored_PG, mask_PGT, penalty_PGT)


def found(of: Groups, **parameters) -> list:
    return Returns(name="returns", **parameters).per_token(of).tolist()


def test_rewards_come_at_the_end_and_penalties_at_each_token() -> None:
    """Reward 2, penalties 0.1 0.2 0.3, gamma 0.5: 2 - 0.3 = 1.7, 0.85 - 0.2 = 0.65, 0.325 - 0.1 = 0.225."""
    of = groups([[2.0]], [[3]], [[[0.1, 0.2, 0.3]]])
    assert found(of, gamma=0.5, whiten="none") == [[pytest.approx([0.225, 0.65, 1.7])]]


def test_without_discount_all_tokens_have_the_reward() -> None:
    assert found(groups([[2.0, -1.0]], [[3, 1]]), whiten="none") == [[[2.0, 2.0, 2.0], [-1.0, 0.0, 0.0]]]


@pytest.mark.parametrize(("correction", "variance"), [("population", 0.75), ("bessel", 1.0)])
def test_all_tokens_of_the_step_are_whitened_together(correction, variance) -> None:
    """Returns 2 2 2 and, in another group, 0: mean 1.5, squares 3 x 0.25 + 2.25 = 3, over 4 or 3."""
    got = found(groups([[2.0], [0.0]], [[3], [1]]), correction=correction)
    scale = variance**-0.5
    assert got == [[pytest.approx([0.5 * scale] * 3)], [pytest.approx([-1.5 * scale, 0.0, 0.0])]]


def test_what_has_no_reward_counts_for_nothing() -> None:
    with_it = found(groups([[2.0, 9.0], [0.0, 1.0]], [[3, 2], [1, 2]], scored=[[True, False], [True, True]]))
    assert with_it[0][1] == [0.0, 0.0, 0.0]
    without = found(groups([[2.0], [0.0], [1.0]], [[3], [1], [2]]))
    assert [with_it[0][0], *with_it[1]] == [pytest.approx(one) for (one,) in without]


def test_equal_returns_give_nothing() -> None:
    assert found(groups([[1.0, 1.0]], [[2, 1]])) == [[[0.0, 0.0], [0.0, 0.0]]]


def test_the_groups_mean_as_baseline() -> None:
    """Rewards 3 and 1: 1 and -1. A response that is alone in its group with a reward is compared with nothing."""
    of = groups([[3.0, 1.0], [5.0, 0.0]], [[2, 1], [1, 1]], scored=[[True, True], [True, False]])
    assert found(of, baseline="group_mean", whiten="none") == [[[1.0, 1.0], [-1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    assert Returns(baseline="group_mean").is_relative and not Returns().is_relative


def test_padding_may_lie_anywhere() -> None:
    """Tokens at 1 and 3 of 5: the discount goes from token to token, not from column to column."""
    mask_PGT = torch.tensor([[[False, True, False, True, False]]])
    penalty_PGT = torch.tensor([[[0.0, 0.1, 0.0, 0.2, 0.0]]], dtype=torch.float64)
    of = Groups(torch.tensor([[1.0]], dtype=torch.float64), torch.tensor([[True]]), mask_PGT, penalty_PGT)
    assert found(of, gamma=0.5, whiten="none") == [[pytest.approx([0.0, 0.3, 0.0, 0.8, 0.0])]]
