"""The KL of the tokens that weigh little: what is held, and what is let go."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from alignkit.losses.kl_off import KLOff
from alignkit.scores import PairScores


def value(pair: PairScores, chosen: list[float], rejected: list[float]) -> float:
    """With these weights."""
    sides = ((pair.chosen, chosen), (pair.rejected, rejected))
    weighted = [replace(s, weights_BT=torch.tensor([w], dtype=torch.float64)) for s, w in sides]
    return float(KLOff().per_example(PairScores(*weighted)))


def test_what_weighs_1_or_more_is_let_go(worked) -> None:
    pair = worked.pair()
    assert float(KLOff().per_example(pair)) == 0.0
    assert value(pair, [1.0, 3.0, 1.5], [1.0, 1.0, 2.0, 9.0]) == 0.0


def test_what_weighs_0_is_held_whole_and_by_half_what_weighs_half(worked) -> None:
    pair = worked.pair()
    (kl_chosen_T,), (kl_rejected_T,) = (next(iter(s.statistics.values())) for s in (pair.chosen, pair.rejected))
    nothing = value(pair, [0.0] * 3, [0.0] * 4)
    assert nothing == pytest.approx(float(kl_chosen_T.sum() + kl_rejected_T.sum()))
    assert value(pair, [0.5] * 3, [0.5] * 4) == pytest.approx(nothing / 2)
    assert value(pair, [0.0, 5.0, 5.0], [0.25, 5.0, 5.0, 5.0]) == pytest.approx(
        float(kl_chosen_T[0] + 0.75 * kl_rejected_T[0])
    )


def test_the_sides_are_alike(worked) -> None:
    """It is no preference: swapping chosen and rejected changes nothing."""
    pair = worked.pair()
    there = value(pair, [0.2, 2.0, 0.8], [0.1, 1.2, 0.7, 2.0])
    back = value(PairScores(pair.rejected, pair.chosen), [0.1, 1.2, 0.7, 2.0], [0.2, 2.0, 0.8])
    assert there == pytest.approx(back) and there > 0
