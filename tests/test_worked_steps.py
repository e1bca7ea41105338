"""Worked numbers of what looks at a whole step, or at a share of tokens: the newer methods' file, the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from alignkit.asks.columns import TokenColumns
from alignkit.asks.whole_step import WholeStep
from alignkit.losses import losses
from alignkit.losses.base import PairLoss
from alignkit.losses.beta_dpo import log_weights
from alignkit.losses.epsilon_dpo import Extrapolated
from alignkit.losses.gamma_po import margins
from alignkit.losses.running import standardised
from alignkit.models.statistics import Entropy, Vocabulary
from alignkit.scores import PairScores, Span
from alignkit.weighting import weightings

USUAL = {"mean": torch.tensor(0.3).double(), "deviation": torch.tensor(0.4).double()}
"""A running mean and deviation after the step's own values were taken in."""

SIDES = ("chosen", "rejected")


def deciding(loss: PairLoss, pair: PairScores, **facts: float) -> float:
    """The loss where these facts were decided."""
    decided = {loss: {name: torch.tensor(value).double() for name, value in facts.items()}}
    chosen, rejected = (replace(side, decided=decided) for side in (pair.chosen, pair.rejected))
    return float(loss.per_example(replace(pair, chosen=chosen, rejected=rejected)))


def before(values_N: Tensor) -> dict[str, Tensor]:
    """What was usual before these values made it `USUAL`, with a momentum of 0.9."""
    news = {"mean": values_N.mean(), "deviation": values_N.std()}
    return {name: (USUAL[name] - 0.1 * value) / 0.9 for name, value in news.items()}


def running(worked, pair: PairScores) -> dict:
    """beta-DPO and alpha-DPO, and gamma-PO's margins; the pair's margin stands first among four."""
    margin = float(pair.chosen.logratio_B - pair.rejected.logratio_B)
    margin_N = torch.tensor([margin, 0.5, 0.8, -0.2], dtype=torch.float64)
    beta = losses.build("beta_dpo", {"drop": 0.0})
    facts, after = beta.decide(margin_N[:, None], before(margin_N), 0)
    torch.testing.assert_close(after, USUAL)
    gap = float(pair.chosen.mean_logratio_B - pair.rejected.mean_logratio_B)
    alpha = losses.build("alpha_dpo", {"beta": 2.5, "gamma_beta_ratio": 0.6, "alpha": 0.2})
    target = 0.6 + 0.2 * float(standardised(torch.tensor([gap]).double(), USUAL))
    lead_N = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
    return {
        "beta_dpo filter weights": log_weights(standardised(margin_N, USUAL)).exp().tolist(),
        "beta_dpo beta (all kept, a=.6)": float(facts["beta"]),
        "beta_dpo loss": float(-torch.nn.functional.logsigmoid(facts["beta"] * margin_N).mean()),
        "alpha_dpo beta=2.5 ratio=.6 alpha=.2 ema mean .3 std .4 (gap = mean log-ratio gap)": deciding(
            alpha, pair, margin=target
        ),
        "gamma_po margins gaps=(.5,1,2,3) gamma0=1 tau=10": margins(lead_N, 1.0, 10.0).tolist(),
    }


def epsilon(worked, pair: PairScores) -> dict:
    """epsilon-DPO: the pair's step, its beta, and the common one after a step whose mean is a quarter."""
    found = {}
    for size in (0.01, 0.5):
        loss = losses.build("epsilon_dpo", {"beta": 0.1, "epsilon": size})
        looks = loss.needs().statistics
        sides = (
            replace(worked.response(side), statistics={look: extrapolated(worked, side, look) for look in looks})
            for side in SIDES
        )
        both = PairScores(*sides)
        seen = loss.observe(both)
        # Beside pairs whose margin does not move, the mean step is a quarter.
        facts, after = loss.decide(torch.cat([seen, torch.zeros(3, 3).double()]), loss.initial_state(), 0)
        beta = float(facts["beta"][0])
        key = f"epsilon_dpo eps={size}"
        found |= {
            f"{key} gap, gap+, gap-": seen[0].tolist(),
            f"{key} step": (0.1 / beta - 1) / size,
            f"{key} pair beta, loss": [beta, deciding(loss, both, beta=beta)],
            f"{key} next beta (batch mean step .25)": float(after["beta"]),
        }
    return found


def extrapolated(worked, side: str, look: Extrapolated) -> Tensor:
    """[1, T], from the rows and targets of one side."""
    policy, reference = (torch.tensor(getattr(worked, f"{side}_{m}")).double().log() for m in ("policy", "reference"))
    return look.reduce(Vocabulary(policy, reference, torch.tensor(getattr(worked, f"{side}_targets"))))[None]


def selected(worked, pair: PairScores) -> dict:
    """Masks by a guide's log-ratios, by the policy's own, and by entropy over both responses."""
    guide = {"chosen": [0.405465, 0.510826, -0.223144], "rejected": [0.0, 0.405465, 0.0, -1.098612]}
    column = TokenColumns(suffix="_weight")
    spans = {
        side: replace(span_of(pair, side), values={column: torch.tensor([guide[side]]).double()}) for side in SIDES
    }
    settings = {"of": {"name": "column"}, "rejected": "smallest", "cut": "floor", "rescale": "raw"}
    masks = {side: mask(spans[side], top=0.5, **settings) for side in SIDES}
    simpo = losses.build("simpo", {"beta": 1.0, "gamma_beta_ratio": 0.0})
    of_mean = {
        side: mask(spans[side], top=0.5, of={"name": "column"}, rejected="smallest", cut="floor") for side in SIDES
    }
    few = Span(torch.ones(1, 3).bool(), policy_BS=torch.tensor([[-1.0, -2.0, -3.0]]))
    own = {"of": {"name": "self", "moved": "down"}, "rejected": "smallest", "cut": "quantile", "rescale": "raw"}
    selective = {side: mask(spans[side], top=0.4, **own) for side in SIDES}
    return {
        "sepo k=.5 mask chosen": masks["chosen"],
        "sepo k=.5 mask rejected": masks["rejected"],
        "sepo loss (released: beta 1, no margin)": weighted(simpo, pair, of_mean),
        "select ceil k=.3 of T=3": sum(mask(few, top=0.3, rescale="raw")),
        "selective_dpo mask chosen (score ref - policy)": selective["chosen"],
        "selective_dpo mask rejected (score policy - ref)": selective["rejected"],
        "selective_dpo loss": weighted(losses.build("dpo", {}), pair, selective),
    }


def undecided(worked, pair: PairScores) -> dict:
    """80/20: the threshold of all seven tokens."""
    found, entropy = {}, Entropy()
    values = {
        side: entropy.reduce(Vocabulary(torch.tensor(getattr(worked, f"{side}_policy")).double().log(), None))[None]
        for side in SIDES
    }
    for top in (0.2, 0.8):
        settings = {"of": {"name": "statistic", "statistic": "entropy"}, "per": "step", "top": top, "rescale": "raw"}
        select = weightings.build("select", settings)
        assert isinstance(select, WholeStep)
        seen = torch.full((1, 2, 4), torch.nan, dtype=torch.float64)
        for place, side in enumerate(SIDES):
            seen[0, place, : values[side].shape[1]] = select.observe(
                replace(span_of(pair, side), statistics={entropy: values[side]})
            )
        kept = select.decide(seen, {}, 0)[0]["kept"]
        masks = [
            select.weights(replace(span_of(pair, side), decided={select: {"kept": kept[:, place, :count]}}))[0].tolist()
            for place, (side, count) in enumerate(zip(SIDES, (3, 4), strict=True))
        ]
        found[f"forking rho={top} masks"] = masks
    return found


def span_of(pair: PairScores, side: str) -> Span:
    scores = getattr(pair, side)
    return Span(
        scores.mask_BT,
        policy_BS=scores.policy_BT,
        reference_BS=scores.reference_BT,
        desirable_B=torch.tensor([side == "chosen"]),
    )


def mask(span: Span, **settings) -> list[float]:
    return weightings.build("select", settings).weights(span)[0].tolist()


def weighted(loss: PairLoss, pair: PairScores, weights: dict[str, list[float]]) -> float:
    sides = (replace(getattr(pair, side), weights_BT=torch.tensor([weights[side]]).double()) for side in SIDES)
    return float(loss.per_example(PairScores(*sides)))


PARTS = (running, epsilon, selected, undecided)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_worked_numbers(part, worked, newer) -> None:
    for key, got in part(worked, worked.pair()).items():
        wanted = newer[key]
        assert flat(got) == pytest.approx(flat(wanted), abs=1e-6), key


def flat(value: float | Sequence) -> list[float]:
    return [one for part in value for one in flat(part)] if isinstance(value, Sequence) else [value]
