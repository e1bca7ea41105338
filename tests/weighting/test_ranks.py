"""Ranks within a response: equal values share one, and padding neither has a rank nor moves one."""

from __future__ import annotations

import pytest
import torch

from alignkit.weighting.ranks import average_ranks

MANY = [4.0, 1.0, 4.0, -2.0, 4.0]
RANKS = [3.0, 1.0, 3.0, 0.0, 3.0]
"""-2 < 1 < 4: places 0 and 1, and the three fours share (2 + 3 + 4) / 3."""


def everything(values_BT: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(values_BT, dtype=torch.bool)


def test_equal_values_share_the_mean_of_their_places() -> None:
    values_BT = torch.tensor([MANY])
    ranks_BT = average_ranks(values_BT, everything(values_BT))
    assert ranks_BT.tolist() == [RANKS] and ranks_BT.dtype == torch.float32  # some accelerators have no float64
    assert average_ranks(values_BT.bfloat16(), everything(values_BT)).dtype == torch.float32


def test_all_equal_values_have_the_middle_rank() -> None:
    """(0 + 1 + 2 + 3) / 4."""
    values_BT = torch.full((1, 4), 0.25)
    assert average_ranks(values_BT, everything(values_BT)).tolist() == [[1.5] * 4]


def test_two_values_that_tie_at_the_bottom() -> None:
    """-1, -1, 7: the two share (0 + 1) / 2; 0 and -0 are equal too."""
    values_BT = torch.tensor([[-1.0, 7.0, -1.0], [-0.0, 7.0, 0.0]])
    assert average_ranks(values_BT, everything(values_BT)).tolist() == [[0.5, 2.0, 0.5]] * 2


@pytest.mark.parametrize("garbage", [-9.0, 1.0, 4.0, 9.0, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "kept",
    [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7], [1, 2, 3, 4, 5], [0, 2, 3, 5, 7]],
    ids=["right", "left", "both", "inside"],
)
def test_padding_may_lie_anywhere_and_hold_anything(kept, garbage) -> None:
    values_BT, mask_BT = torch.full((1, 8), garbage), torch.zeros(1, 8, dtype=torch.bool)
    values_BT[0, kept], mask_BT[0, kept] = torch.tensor(MANY), True
    assert average_ranks(values_BT, mask_BT)[0, kept].tolist() == RANKS


def test_rows_do_not_see_each_other() -> None:
    """3 is the largest of its row and the smallest of the other."""
    values_BT = torch.tensor([[1.0, 3.0, 2.0], [9.0, 3.0, 7.0]])
    assert average_ranks(values_BT, everything(values_BT)).tolist() == [[0.0, 2.0, 1.0], [2.0, 0.0, 1.0]]


def test_one_token_has_rank_0() -> None:
    assert average_ranks(torch.tensor([[3.5]]), torch.tensor([[True]])).tolist() == [[0.0]]
    assert average_ranks(torch.tensor([[8.0, 3.5, 8.0]]), torch.tensor([[False, True, False]]))[0, 1].item() == 0.0


def test_whole_numbers_and_columns_of_a_larger_tensor_will_do() -> None:
    """1 5, 5 2, 3 5 as columns: rows 1 5 3 and 5 2 5, whose two fives share (1 + 2) / 2."""
    values_BT = torch.tensor([[1, 5], [5, 2], [3, 5]]).float().T
    assert average_ranks(values_BT, everything(values_BT)).tolist() == [[0.0, 2.0, 1.0], [1.5, 0.0, 1.5]]
