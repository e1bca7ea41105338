"""The worked numbers of prompt influence and of chi-PO; beta is 0.1 unless the key says otherwise.

The other prompts' distributions are not in the data: those below give its log-ratios and KLs.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from test_worked_methods import mean, value, weighted

from alignkit.asks.prompt_influence import moved
from alignkit.losses import losses
from alignkit.losses.chi_po import link
from alignkit.models.head import Predictions
from alignkit.scores import PairScores, Span
from alignkit.weighting import weightings

KEYS = ("influence ", "chi_po ")
"""Beginnings of the keys that belong here."""

OTHERS = {
    "chosen": ((0.375, 0.325, 0.2, 0.1), (0.65, 0.075, 0.175, 0.1), (0.225, 0.2, 0.475, 0.1)),
    "rejected": ((0.3, 0.225, 0.275, 0.2), (0.1, 0.1, 0.45, 0.35), (0.45, 0.35, 0.1, 0.1), (0.2, 0.25, 0.25, 0.3)),
}
"""Mean distributions under the other prompts."""

APART = torch.tensor([0.03, -0.01, -0.05, 0.03], dtype=torch.float64)
"""How far each of the two prompts is from the mean."""


def moved_by(worked, side: str, form: str) -> torch.Tensor:
    """[T] of a side, with two other prompts."""
    own_TV = torch.tensor(getattr(worked, f"{side}_reference"), dtype=torch.float64)
    mean_TV = torch.tensor(OTHERS[side], dtype=torch.float64)
    own, *others = (predictions(one_TV) for one_TV in (own_TV, mean_TV + APART, mean_TV - APART))
    return moved(own, others, torch.tensor(getattr(worked, f"{side}_targets")), 2, form)


def predictions(probability_TV: torch.Tensor) -> Predictions:
    return Predictions(probability_TV.log(), torch.nn.Identity())


def influence_weights(worked, side: str, **settings) -> list[float]:
    weighting = weightings.build("influence", {"form": "pmi", **settings})
    values_BS = moved_by(worked, side, "pmi")[None]
    (key,) = weighting.needs().values
    return weighting.weights(Span(torch.ones_like(values_BS).bool(), values={key: values_BS}))[0].tolist()


def influence(worked, pair: PairScores) -> dict:
    """The floor of the data is 0.1 nats; ours is a share of the response's mean."""
    sides = ("chosen", "rejected")
    plain = [influence_weights(worked, side, floor=0.0) for side in sides]
    floors = [0.1 / float(moved_by(worked, side, "pmi").abs().mean()) for side in sides]
    floored = [influence_weights(worked, side, floor=floor) for side, floor in zip(sides, floors, strict=True)]
    return {
        "influence pmi chosen (reference)": moved_by(worked, "chosen", "pmi").tolist(),
        "influence pmi rejected (reference)": moved_by(worked, "rejected", "pmi").tolist(),
        "influence |pmi| mean1 chosen": plain[0],
        "influence |pmi| mean1 rejected": plain[1],
        "influence |pmi| mean1 loss": value("weighted_dpo", weighted(pair, *plain)),
        "influence |pmi| floor .1 mean1 loss": value("weighted_dpo", weighted(pair, *floored)),
        "influence kl chosen": moved_by(worked, "chosen", "kl").tolist(),
    }


def of_sums(chosen: float, rejected: float) -> PairScores:
    """Two responses of one token with these log-ratios."""
    return PairScores(mean(chosen, 0.0), mean(rejected, 0.0))


def chi_po(worked, pair: PairScores) -> dict:
    """The derivative of the link is its gradient factor; a loss is log(1 + exp(-margin))."""
    sums_B = torch.tensor([0.0, 1.0, -3.0], dtype=torch.float64, requires_grad=True)
    (factor_B,) = torch.autograd.grad(link(sums_B).sum(), sums_B)
    far = [losses.build("chi_po", {"beta": 1.0, "bound": bound}) for bound in (None, 8.0)]
    margins = [-math.log(math.expm1(float(loss.per_example(of_sums(3.0, -3.0))))) for loss in far]
    return {
        "chi_po beta=.1": value("chi_po", pair),
        "chi_po beta=1": value("chi_po", pair, beta=1.0),
        "chi_po beta=.1 S=(-.4,-.9)": value("chi_po", of_sums(-0.4, -0.9)),
        "chi_po gradient factor 1 + e^S at S=0, 1, -3": factor_B.tolist(),
        "chi_po beta=1 S=(3,-3) clip 2R=8: argument, clipped": margins,
    }


PARTS = (influence, chi_po)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_numbers(part, worked, newer) -> None:
    for key, got in part(worked, worked.pair()).items():
        assert got == pytest.approx(newer[key], rel=1e-6, abs=1e-6), key


def test_every_number_has_its_place(worked, newer) -> None:
    here = {key for part in PARTS for key in part(worked, worked.pair())}
    assert here == {key for key in newer if key.startswith(KEYS)}


class TestCap:
    def test_the_exponent_is_cut_and_the_rest_goes_on(self) -> None:
        got = link(torch.tensor([20.0, 30.0], dtype=torch.float64)).tolist()
        assert got == pytest.approx([math.exp(20) + 20, math.exp(20) + 30], rel=1e-12)

    def test_capped_responses_are_counted(self) -> None:
        """One of two responses is beyond 20 nats."""
        total, count = losses.build("chi_po", {}).metrics(of_sums(25.0, -3.0))["chi_po/capped"]
        assert (float(total), count) == (1.0, 2.0)

    def test_token_weights_enter_the_sums_and_not_the_rewards(self, worked) -> None:
        pair = worked.pair()
        heavy = replace(pair, chosen=replace(pair.chosen, weights_BT=2 * pair.chosen.weights_BT))
        loss = losses.build("chi_po", {"beta": 1.0})
        chosen, rejected = (float(side.logratio_BT.sum()) for side in (pair.chosen, pair.rejected))
        margin = math.exp(2 * chosen) + 2 * chosen - math.exp(rejected) - rejected
        assert float(loss.per_example(heavy)) == pytest.approx(math.log1p(math.exp(-margin)))
        assert torch.equal(loss.rewards(heavy)[0], loss.rewards(pair)[0])
