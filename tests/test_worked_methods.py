"""The worked numbers of the losses and pair weightings beside TI-DPO's own, which are in test_worked_examples.py.

beta is 0.1 unless the key says otherwise; the inputs are those in tests/data/methods_examples.json.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from alignkit.losses import losses
from alignkit.models.head import Predictions, contrastive_logps
from alignkit.models.statistics import ReverseKL
from alignkit.pair_weighting import pair_weightings
from alignkit.scores import PairScores, Span, TokenScores, UnpairedScores
from alignkit.weighting import weightings
from alignkit.weighting.hybrid import Hybrid

KEYS = (
    *("dpo_label_smoothing", "dpo_robust", "dpo_hinge", "ipo_", "dpo_sigmoid_norm", "mean_logp_", "simpo ", "orpo"),
    *("prompt_logps", "cpo ", "gold_logps", "tpo", "kto_", "tis_", "kl_policy_ref_", "cdpo", "uni"),
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


PARTS = (pairwise, token_level, uni_dpo, kto, contrastive)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_numbers(part, worked, examples) -> None:
    for key, got in part(worked, worked.pair()).items():
        assert got == pytest.approx(examples[key], rel=1e-6, abs=1e-6), key


def test_every_number_has_its_place(worked, examples) -> None:
    here = {key for part in PARTS for key in part(worked, worked.pair())}
    assert here == {key for key in examples if key.startswith(KEYS)}
