"""Advantages relative to the group, worked by hand."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from alignkit.advantages.base import Groups
from alignkit.advantages.group import GroupRelative

LENGTHS = (2, 4, 4, 2)


def groups(*rewards: list[float | None], lengths: tuple[int, ...] = LENGTHS, penalty=None) -> Groups:
    """Groups with these rewards; None is no reward."""
    scored_PG = torch.tensor([[r is not None for r in group] for group in rewards])
    rewards_PG = torch.tensor([[r or 0.0 for r in group] for group in rewards], dtype=torch.float64)
    mask_GT = torch.arange(max(lengths)) < torch.tensor(lengths[: rewards_PG.shape[1]])[:, None]
    return Groups(rewards_PG, scored_PG, mask_GT.expand(len(rewards), -1, -1), penalty)


def per_response(of: Groups, **parameters) -> list[list[float]]:
    """The advantage of each response's first token, after a look at the others."""
    found_PGT = GroupRelative(name="group", **parameters).per_token(of)
    assert torch.equal(found_PGT, found_PGT[:, :, :1] * of.mask_PGT)
    return found_PGT[:, :, 0].tolist()


@pytest.mark.parametrize(
    ("parameters", "right", "wrong"),
    [
        ({}, 1.499700, -0.499900),
        ({"epsilon": 1e-6}, 1.499997, -0.499999),
        ({"scale": "none"}, 0.75, -0.25),
        ({"baseline": "leave_one_out", "scale": "none"}, 1.0, -1 / 3),
        ({"scale": "group_mean"}, 3.0, -1.0),
        ({"baseline": "none", "scale": "none"}, 1.0, 0.0),
        ({"scale": "batch_std"}, 1.499700, -0.499900),
        ({"baseline": "none", "scale": "batch_std"}, 1 / 0.5001, 0.0),
    ],
)
def test_one_of_four_is_right(parameters, right, wrong) -> None:
    """Mean 0.25, squares 0.5625 + 3 x 0.0625 = 0.75, over 3: standard deviation 0.5."""
    (found,) = per_response(groups([1.0, 0.0, 0.0, 0.0]), **parameters)
    assert found == pytest.approx([right, wrong, wrong, wrong], abs=1e-6)


RELATIVE = [
    {"baseline": baseline, "scale": scale}
    for baseline in ("mean", "leave_one_out")
    for scale in ("group_std", "batch_std", "group_mean", "none")
]


@pytest.mark.parametrize("parameters", RELATIVE, ids=lambda p: " ".join(p.values()))
def test_equal_rewards_say_nothing(parameters) -> None:
    found = per_response(groups([1.0] * 4, [0.0] * 4, [1.0, 0.0, 0.0, 0.0]), **parameters)
    assert found[:2] == [[0.0] * 4, [0.0] * 4] and found[2][0] > 0


@pytest.mark.parametrize("parameters", [*RELATIVE, {"baseline": "none", "scale": "none"}])
def test_a_response_without_reward_counts_for_nothing(parameters) -> None:
    """It gets 0, and the others what they get without it."""
    with_it = per_response(groups([1.0, None, 0.5, 0.0]), **parameters)[0]
    without = per_response(groups([1.0, 0.5, 0.0]), **parameters)[0]
    assert with_it[1] == 0.0
    assert [with_it[0], *with_it[2:]] == pytest.approx(without, abs=1e-12)


def test_alone_a_response_is_compared_with_nothing() -> None:
    of = groups([1.0, None, None, None], [None] * 4)
    for parameters in RELATIVE:
        assert per_response(of, **parameters) == [[0.0] * 4] * 2
    assert per_response(of, baseline="none", scale="none") == [[1.0, 0.0, 0.0, 0.0], [0.0] * 4]


def test_the_batch_has_one_standard_deviation() -> None:
    """Rewards 1 0 and 3 0: mean 1, squares 0 1 4 1 = 6 over 3, so sqrt 2; differences 0.5 and 1.5."""
    found = per_response(groups([1.0, 0.0], [3.0, 0.0]), scale="batch_std", epsilon=1e-9)
    root = 2**0.5
    assert found == [pytest.approx([0.5 / root, -0.5 / root]), pytest.approx([1.5 / root, -1.5 / root])]


def test_a_mean_that_is_no_success_rate_gives_0() -> None:
    assert per_response(groups([1.0, -1.0], [-2.0, 0.0]), scale="group_mean") == [[0.0, 0.0]] * 2


def test_the_penalty_is_taken_off_the_reward() -> None:
    """Two responses of reward 1, penalties 0.1 + 0.2 and 0: 0.7 and 1, so -0.15 and 0.15."""
    penalty_PGT = torch.zeros(1, 2, 4, dtype=torch.float64)
    penalty_PGT[0, 0, :2] = torch.tensor([0.1, 0.2])
    found = per_response(groups([1.0, 1.0], penalty=penalty_PGT), scale="none")
    assert found == [pytest.approx([-0.15, 0.15])]


def test_leave_one_out_is_the_mean_stretched() -> None:
    """RLOO is Dr. GRPO times G / (G - 1)."""
    of = groups([0.3, -2.0, 1.5, 0.0], [1.0, 2.0, 3.0, 5.0])
    mean, left_out = (per_response(of, baseline=name, scale="none") for name in ("mean", "leave_one_out"))
    torch.testing.assert_close(torch.tensor(left_out), torch.tensor(mean) * 4 / 3)


def test_only_baselines_compare() -> None:
    assert GroupRelative(baseline="leave_one_out").is_relative
    assert not GroupRelative(baseline="none", scale="none").is_relative


def test_nothing_to_divide_by_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        GroupRelative(baseline="none")
    assert [e["msg"] for e in caught.value.errors()] == [
        "scale 'group_std' divides by nearly 0 where rewards of a group are equal, and with baseline 'none' they are "
        "not 0 there; use batch_std or none"
    ]
