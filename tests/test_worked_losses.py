"""The worked numbers of the newer losses that look at one pair at a time, of the inputs in `Worked`."""

from __future__ import annotations

import pytest
import torch

from alignkit.losses import losses
from alignkit.scores import PairScores, TokenScores


def value(name: str, pair: PairScores, **parameters) -> float:
    return float(losses.build(name, parameters).per_example(pair))


def one_token(logratio: float) -> TokenScores:
    """A response with this log-ratio."""
    ones_BT = torch.ones(1, 1, dtype=torch.float64)
    return TokenScores(logratio * ones_BT, ones_BT.bool(), ones_BT, 0 * ones_BT)


def of_logratios(worked, pair: PairScores) -> dict:
    """DPOP, with and without a chosen response below its reference, and Cal-DPO."""
    lost = PairScores(one_token(-0.4), one_token(-0.9))
    return {
        "dpop lambda=5 (inactive, = dpo)": value("dpop", pair, drop_penalty=5.0),
        "dpop lambda=5 S=(-.4,-.9)": value("dpop", lost, drop_penalty=5.0),
        "dpo S=(-.4,-.9)": value("dpo", lost),
        "cal_dpo beta=1 (released: no beta in the sigmoid, .5 x both squares)": value("cal_dpo", pair, beta=1.0),
    }


def of_means(worked, pair: PairScores) -> dict:
    """AlphaPO, whose gamma is the margin times beta, and RePO."""
    return {
        "alphapo alpha=.25 beta=2 gamma=.5": value("alphapo", pair, alpha=0.25, beta=2.0, gamma_beta_ratio=0.25),
        "repo gamma=.5": value("repo", pair, gamma=0.5),
    }


PARTS = (of_logratios, of_means)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_numbers(part, worked, newer) -> None:
    for key, got in part(worked, worked.pair()).items():
        assert got == pytest.approx(newer[key], rel=1e-6, abs=1e-6), key
