"""The worked numbers of the losses and pair weightings beside TI-DPO's own, which are in test_worked_examples.py.

beta is 0.1 unless the key says otherwise; the inputs are those in tests/data/methods_examples.json.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from alignkit.advantages import advantages as advantages_by_name
from alignkit.advantages.base import Groups
from alignkit.conformance.scored import each_tensor
from alignkit.losses import losses
from alignkit.losses.base import Loss
from alignkit.models.head import Predictions, contrastive_logps
from alignkit.models.statistics import ReverseKL
from alignkit.pair_weighting import pair_weightings
from alignkit.scores import PairScores, RolloutScores, Span, TokenScores, UnpairedScores
from alignkit.weighting import weightings
from alignkit.weighting.hybrid import Hybrid

KEYS = (
    *("dpo_label_smoothing", "dpo_robust", "dpo_hinge", "ipo_", "dpo_sigmoid_norm", "mean_logp_", "simpo ", "orpo"),
    *("prompt_logps", "cpo ", "gold_logps", "tpo", "kto_", "tis_", "kl_policy_ref_", "cdpo", "uni"),
    *("grpo", "ti-grpo", "rpp "),
)
"""Beginnings of the keys that belong here."""


def tokens(*probabilities: float) -> TokenScores:
    logp_BT = torch.tensor([probabilities], dtype=torch.float64).log()
    ones_BT = torch.ones_like(logp_BT)
    return TokenScores(logp_BT, ones_BT.bool(), ones_BT)


def weighted(pair: PairScores, chosen: list[float], rejected: list[float]) -> PairScores:
    sides = ((pair.chosen, chosen), (pair.rejected, rejected))
    return PairScores(*(replace(s, weights_BT=torch.tensor([w], dtype=torch.float64)) for s, w in sides))


def value(name: str, pair: PairScores, **parameters) -> float:
    """The loss of one pair, its likelihood term per token included."""
    loss = losses.build(name, parameters)
    term = loss.nll(pair)
    if term is None:
        return float(loss.per_example(pair))
    nll_B, unit = term
    prompt = 0 if pair.chosen.prompt_mask_BP is None else int(pair.chosen.prompt_mask_BP.sum())
    length = pair.gold.length_B if unit == "gold_tokens" else pair.chosen.length_B + prompt * (unit != "tokens")
    return float(loss.per_example(pair) + nll_B / length)


def pairwise(worked, pair: PairScores) -> dict:
    """DPO's family, and the losses without a reference."""
    prompt = tokens(0.5, 0.25)
    chosen = replace(pair.chosen, prompt_BP=prompt.policy_BT, prompt_mask_BP=prompt.mask_BT)
    gold = replace(pair, gold_response=tokens(0.7, 0.6, 0.5))
    odds = losses.build("orpo", {"odds_weight": 1.0})
    term = float(odds.per_example(pair))
    return {
        "dpo_label_smoothing_0.1 (conservative)": value("dpo", pair, label_smoothing=0.1),
        "dpo_robust_0.1": value("robust", pair),
        "dpo_hinge": value("hinge", pair, beta=0.1),
        "ipo_sum": value("ipo", pair, length_norm=False),
        "ipo_length_normalised": value("ipo", pair),
        "dpo_sigmoid_norm (LN-DPO)": value("sigmoid_norm", pair, beta=0.1),
        "mean_logp_policy_chosen": float(pair.chosen.mean_policy_B),
        "mean_logp_policy_rejected": float(pair.rejected.mean_policy_B),
        "simpo beta=2.0 gamma_beta_ratio=0.5": value("simpo", pair, beta=2.0, gamma_beta_ratio=0.5),
        "simpo beta=2.5 gamma=1.375": value("simpo", pair, beta=2.5, gamma_beta_ratio=0.55),
        "orpo_log_odds": -math.log(math.expm1(term)),  # term = log(1 + exp(-odds))
        "orpo_or_term = -logsig(log_odds)": term,
        "orpo lambda=0.1 nll=response": value("orpo", pair),
        "prompt_logps": prompt.policy_BT[0].tolist(),
        "orpo lambda=0.1 nll=prompt+response": value("orpo", replace(pair, chosen=chosen), nll_on="full"),
        "cpo beta=0.1 alpha=1 (Xu et al. 2024)": value("cpo", pair),
        "gold_logps": gold.gold.policy_BT[0].tolist(),
        "tpo beta=0.01 alpha=1": value("tpo", gold),
        "tpo_l beta=0.01 gamma=0.5 alpha=1": value("tpo_l", gold),
    }


def token_level(worked, pair: PairScores) -> dict:
    """TIS-DPO and cDPO, their weights given."""
    exp_clamp = weighted(pair, [1.2, 2.0, 1.0], [math.exp(0.5), 2 / 3, 1.0, math.exp(0.5)])
    rank = weighted(pair, [1.0, 1.3, 0.7], [1.1, 0.7, 0.9, 1.3])
    without_eos = weighted(pair, [1.0, 1.3, 0.0], [1.1, 0.7, 0.9, 0.0])
    kls = {side: policy_kl(worked, side) for side in ("chosen", "rejected")}
    kl = ReverseKL()
    with_kl = PairScores(*(replace(getattr(rank, side), statistics={kl: kl_BT}) for side, kl_BT in kls.items()))
    s = [0.9, 0.05, 0.8, 0.3]
    critical = weighted(pair, [1.0] * 3, [1 - s_t for s_t in s])
    return {
        "tis_dpo exp-clamp beta=0.1": value("tis_dpo", exp_clamp),
        "tis_dpo rank beta=0.1": value("tis_dpo", rank),
        "tis_dpo rank, last token = EOS weight 0": value("tis_dpo", without_eos),
        "kl_policy_ref_chosen_t": kls["chosen"][0].tolist(),
        "kl_policy_ref_rejected_t": kls["rejected"][0].tolist(),
        "tis_dpo rank token_level alpha=0.5": value("tis_dpo", with_kl, kl_alpha=0.5),
        "cdpo_s_t rejected": s,
        "cdpo sequence-level only_neg beta=0.1": value("cdpo", critical),
        "cdpo code-literal per-position mean (no prompt, pad to 4)": value("cdpo", critical, form="per_position"),
    }


def policy_kl(worked, side: str) -> torch.Tensor:
    """[1, T] KL(policy || reference) of the worked rows."""
    policy, reference = (torch.tensor(getattr(worked, f"{side}_{m}")).double() for m in ("policy", "reference"))
    return (policy * (policy / reference).log()).sum(-1)[None]


def uni_dpo(worked, pair: PairScores) -> dict:
    """Uni-DPO: sigmoid_norm is its preference term; then two levels, with TI-DPO's token weights."""
    columns = {"score_chosen": torch.tensor([8.0]), "score_rejected": torch.tensor([5.0])}
    pair = replace(pair, columns=columns)
    weighting = pair_weightings.build("uni_dpo", {})
    quality = float(pair_weightings.build("uni_dpo", {"gamma": 0.0}).per_pair(pair))
    weight = float(weighting.per_pair(pair))
    second = PairScores(mean(-1.0, -0.9), mean(-1.2, -1.15), columns=columns)
    second_weight = float(weighting.per_pair(second))
    second_term = second_weight * value("sigmoid_norm", second, beta=2.0)
    calibrated = losses.build("calibrated_nll", {})
    hybrid = [Hybrid().weights(worked.span(side))[0].tolist() for side in ("chosen", "rejected")]
    both = replace(weighted(pair, *hybrid), columns=columns)
    return {
        "uni_w_qual": quality,
        "uni_w_perf": weight / quality,
        "uni_dpo beta=2 (c-NLL inactive)": weight * value("sigmoid_norm", pair, beta=2.0)
        + calibrated.coefficient * float(calibrated.per_example(pair)),
        "uni2_w_perf": second_weight / quality,
        "uni2_pref_term": second_term,
        "uni2_total lambda=0.001 (c-NLL active)": second_term
        + calibrated.coefficient * float(calibrated.per_example(second)),
        "uni+ti length-normalised weighted margin": float(both.chosen.mean_logratio_B - both.rejected.mean_logratio_B),
        "uni+ti loss beta=2": float(weighting.per_pair(both)) * value("sigmoid_norm", both, beta=2.0),
    }


def mean(policy: float, reference: float) -> TokenScores:
    """A response of one token with these log-probs."""
    one = torch.ones(1, 1, dtype=torch.float64)
    return TokenScores(policy * one, one.bool(), one, reference * one)


def kto(worked, pair: PairScores) -> dict:
    """One response of each kind; the mismatched sums -3, -4 stand against -3.2, -3.9 of the reference."""
    mismatch = torch.tensor([-3.0 + 3.2, -4.0 + 3.9], dtype=torch.float64).mean()
    values = {
        label: float(
            losses.build("kto", {}).per_example(UnpairedScores(response, torch.tensor([label]), mismatch)).sum()
        )
        for label, response in ((True, pair.chosen), (False, pair.rejected))
    }
    return {
        "kto_z": float(mismatch.clamp_min(0)),
        "kto_chosen": values[True],
        "kto_rejected": values[False],
        "kto_mean": (values[True] + values[False]) / 2,
    }


def contrastive(worked, pair: PairScores) -> dict:
    """TIS-DPO's weights from two models' probabilities of both sides, and cDPO's estimate from two models' logits."""
    models = {
        "chosen": ((0.6, 0.5, 0.4), (0.5, 0.25, 0.4)),
        "rejected": ((0.2, 0.3, 0.5, 0.1), (0.4, 0.2, 0.5, 0.4)),
    }
    found = {}
    for side, (positive, negative) in models.items():
        ratio_BS = tokens(*positive).policy_BT - tokens(*negative).policy_BT
        found[f"tis_log(pi+/pi-)_{side}"] = ratio_BS[0].tolist()
        for transform, key in (("clamp", "exp-clamp"), ("rank", "rank[.7,1.3]")):
            weighting = weightings.build("tis", {"transform": transform, "weigh_last": True})
            (values,) = weighting.needs().values
            desirable_B = torch.tensor([side == "chosen"])
            span = Span(torch.ones_like(ratio_BS).bool(), desirable_B=desirable_B, values={values: ratio_BS})
            found[f"tis_w_{side} {key}"] = weighting.weights(span)[0].tolist()
    logits = [Predictions(torch.tensor([z] * 3).double(), torch.nn.Identity()) for z in ([2, 1, 0], [1, 2, 0])]
    estimate_N = contrastive_logps(*logits, torch.arange(3), chunk=2, strength=1.0).exp()
    return found | {"cdpo_ce softmax(2*pos-1*neg) for pos=[2,1,0] neg=[1,2,0]": estimate_N.tolist()}


def grpo(worked, pair: PairScores) -> dict:
    """The pair as a group of two, right and wrong, sampled by the reference; the constant divisor has 4 tokens each."""
    span = {side: Hybrid().weights(worked.span(side)) for side in ("chosen", "rejected")}
    ti = weighted(pair, *(weights_BT[0].tolist() for weights_BT in span.values()))
    advantages = advantage("group", [1.0, 0.0], (3, 4))[0]
    found = {
        "grpo_advantages": advantages[:, 0].tolist(),
        "grpo adv for rewards [3,-.5,-3,3]": advantage("group", [3, -0.5, -3, 3], (1,) * 4)[0, :, 0].tolist(),
    }
    for side, scores in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        found[f"grpo ratio {side}"] = scores.logratio_BT.exp()[0].tolist()
        k3 = losses.build("policy_gradient", {"kl": {"coefficient": 1.0, "estimator": "k3"}})
        each = each_tensor(scores, lambda _, value: value.mT)  # a response of its own for every token
        found[f"grpo k3 kl {side}"] = k3.terms(rollout(each, torch.zeros(1), each.policy_BT))[1].value_B.tolist()
    for name, average in (("grpo", "examples"), ("token", "tokens"), ("dr", "constant")):
        for beta, key in ((0.0, "0"), (0.04, ".04")):
            settings = {"average": average, "kl": {"coefficient": beta, "estimator": "k3"}}
            loss = losses.build("policy_gradient", settings)
            found[f"grpo agg={name} beta_kl={key}"] = group_loss(loss, pair, advantages)
            if average != "constant":
                words = "" if beta else " (adv*w, mean1)"
                found[f"ti-grpo agg={name} beta_kl={key}{words}"] = group_loss(loss, ti, advantages)
    return found


def advantage(name: str, rewards: list[float], lengths: tuple[int, ...], penalty=None, **parameters) -> torch.Tensor:
    """[1, G, T] of one group of responses."""
    mask_GT = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    rewards_PG = torch.tensor([rewards], dtype=torch.float64)
    groups = Groups(rewards_PG, torch.ones_like(rewards_PG).bool(), mask_GT[None], penalty)
    return advantages_by_name.build(name, parameters).per_token(groups)


def rollout(scores: TokenScores, advantage_T: torch.Tensor, old_BT: torch.Tensor) -> RolloutScores:
    return RolloutScores(scores, advantage_T[: scores.mask_BT.shape[1]][None], old_BT, 4)


def group_loss(loss: Loss, pair: PairScores, advantages: torch.Tensor, old: tuple | None = None) -> float:
    """What the objective makes of both responses; sampled by the reference unless told otherwise."""
    of = old or (pair.chosen.reference_BT, pair.rejected.reference_BT)
    sides = [rollout(s, *rest) for s, *rest in zip((pair.chosen, pair.rejected), advantages, of, strict=True)]
    units = {"examples": 2, "tokens": 7}
    return float(sum(term.value_B.sum() / units[term.unit] for one in sides for term in loss.terms(one)))


def reinforce(worked, pair: PairScores) -> dict:
    """REINFORCE++ with the same rewards and a penalty of 0.01."""
    penalty = torch.zeros(1, 2, 4, dtype=torch.float64)
    penalty[0, 0, :3], penalty[0, 1] = 0.01 * pair.chosen.logratio_BT[0], 0.01 * pair.rejected.logratio_BT[0]
    ways = {
        "returns": {"whiten": "none"},
        "adv whitened (pop)": {},
        "adv whitened (bessel)": {"correction": "bessel"},
    }
    found, loss = {}, losses.build("policy_gradient", {})
    for way, parameters in ways.items():
        (values,) = advantage("returns", [1.0, 0.0], (3, 4), penalty, **parameters)
        found |= {f"rpp {way} chosen": values[0, :3].tolist(), f"rpp {way} rejected": values[1].tolist()}
    (values,) = advantage("returns", [1.0, 0.0], (3, 4), penalty)
    still = (pair.chosen.policy_BT, pair.rejected.policy_BT)
    moves = ([0.1, -0.05, 0.3], [-0.1, 0.05, 0.25, 0.0])
    moved = tuple(old_BT - torch.tensor([move]) for old_BT, move in zip(still, moves, strict=True))
    return found | {
        "rpp loss (pop, ratio=1, token mean)": group_loss(loss, pair, values, still),
        "rpp loss (pop, logratio new/old = [.1,-.05,.3],[-.1,.05,.25,0], eps .2)": group_loss(
            loss, pair, values, moved
        ),
    }


PARTS = (pairwise, token_level, uni_dpo, kto, contrastive, grpo, reinforce)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_numbers(part, worked, examples) -> None:
    for key, got in part(worked, worked.pair()).items():
        assert got == pytest.approx(examples[key], rel=1e-6, abs=1e-6), key


def test_every_number_has_its_place(worked, examples) -> None:
    here = {key for part in PARTS for key in part(worked, worked.pair())}
    assert here == {key for key in examples if key.startswith(KEYS)}
