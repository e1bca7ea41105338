"""Every number of methods_examples.json: computed here, asserted beside the code it belongs to, or a later card's.

Weights are mean 1, mix 0.7, sigma T/4 and beta 0.1 unless the key says otherwise. The numbers are rounded to six
decimals, so an absolute error of 1e-6 is a difference.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from alignkit.losses.dpo import DPO
from alignkit.losses.sft import SFT
from alignkit.losses.tdpo import TDPO
from alignkit.losses.triplet import Triplet
from alignkit.models.attribution import Attribution
from alignkit.models.statistics import ForwardKL
from alignkit.registry import Component
from alignkit.scores import PairScores, ResponseScores, Span, TokenScores
from alignkit.weighting import weightings
from alignkit.weighting.base import TokenWeighting
from alignkit.weighting.gradient import Gradient
from alignkit.weighting.hybrid import Hybrid
from alignkit.weighting.prior import Prior
from alignkit.weighting.softmax import Softmax

RELEASED = {"mix": 0.2, "prior": Prior(name="prior", sigma_divisor=8, sigma_min=1), "scope": "full_sequence"}

# key -> where the number is asserted instead: the toy model is not a weighting's business
ELSEWHERE = {"toy attribution last logits", "toy attribution argmax", "toy attribution I"}

# By the beginning of the key: asserted in test_worked_methods.py, or no number of ours.
LATER = (
    *("dpo_label_smoothing", "dpo_robust", "dpo_hinge", "ipo_", "dpo_sigmoid_norm", "mean_logp_", "simpo ", "orpo"),
    *("prompt_logps", "cpo ", "gold_logps", "tpo", "kto_", "tis_", "kl_policy_ref_", "cdpo", "uni"),
    *("grpo", "ti-grpo", "rpp "),
    *("pearson ", "mean w", "mean delta", "TableB2 "),  # arithmetic on the paper's own tables
)


def column(values) -> list[float]:
    return values.tolist()[0]


def weights(worked, weighting: TokenWeighting) -> tuple:
    is_full = weighting.scope == "full_sequence"
    return tuple(weighting.weights(worked.span(side, is_full)) for side in ("chosen", "rejected"))


def margin(scores: PairScores) -> float:
    return float(scores.chosen.logratio_B - scores.rejected.logratio_B)


def gradients(loss: Component, scores: PairScores) -> list[list[float]]:
    """Gradient of the loss by the policy log-probs of chosen, rejected and, where there is one, the anchor."""
    given = [s for s in (scores.chosen, scores.rejected, scores.sampled) if s is not None]
    leaves = [s.policy_BT.clone().requires_grad_() for s in given]
    trio = [replace(s, policy_BT=leaf) for s, leaf in zip(given, leaves, strict=True)]
    return [column(g) for g in torch.autograd.grad(loss.per_example(PairScores(*trio)).sum(), leaves)]


def scalars(worked) -> dict:
    """Section 10 up to TDPO: log-probs, SFT, DPO, KL."""
    chosen, rejected, pair = worked.response("chosen"), worked.response("rejected"), worked.pair()
    anchor1, anchor2 = worked.anchor(1), worked.anchor(2)
    sft = float(SFT().per_example(ResponseScores(chosen)))
    h = torch.tensor(margin(pair), dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    ones, mask = torch.ones_like(zero), torch.ones_like(zero, dtype=torch.bool)
    of_h = PairScores(TokenScores(h.view(1, 1), mask, ones, zero), TokenScores(zero, mask, ones, zero))
    rewards, tdpo_rewards = DPO().rewards(pair), TDPO().rewards(pair)
    return {
        "logp_policy_chosen": column(chosen.policy_BT),
        "logp_ref_chosen": column(chosen.reference_BT),
        "logp_policy_rejected": column(rejected.policy_BT),
        "logp_ref_rejected": column(rejected.reference_BT),
        "logratio_chosen b_t": column(chosen.logratio_BT),
        "logratio_rejected c_t": column(rejected.logratio_BT),
        "logratio_anchor d_t": column(anchor1.logratio_BT),
        "logratio_anchor2 d2_t": column(anchor2.logratio_BT),
        "sum_logp_policy_chosen": float(chosen.policy_B),
        "sum_logp_policy_rejected": float(rejected.policy_B),
        "sum_logp_ref_chosen": float(chosen.policy_B - chosen.logratio_B),
        "sum_logp_ref_rejected": float(rejected.policy_B - rejected.logratio_B),
        "h = b.sum()-c.sum()": margin(pair),
        "sft_token_mean": sft / 3,
        "sft_sequence_sum": sft,
        "dpo_sigmoid": float(DPO().per_example(pair)),
        "dpo_grad_wrt_h": float(torch.autograd.grad(DPO().per_example(of_h).sum(), h)[0]),
        "dpo_reward_chosen": float(rewards[0]),
        "dpo_reward_rejected": float(rewards[1]),
        "kl_ref_policy_chosen_t": column(chosen.statistics[ForwardKL()]),
        "kl_ref_policy_rejected_t": column(rejected.statistics[ForwardKL()]),
        "KL_c": float(chosen.statistic_B(ForwardKL())),
        "KL_l": float(rejected.statistic_B(ForwardKL())),
        "tdpo1 beta=0.1": float(TDPO(version=1).per_example(pair)),
        "tdpo2 beta=0.1 alpha=0.5": float(TDPO().per_example(pair)),
        "tdpo_reward_chosen": float(tdpo_rewards[0]),
        "tdpo_reward_rejected": float(tdpo_rewards[1]),
    }


def importances(worked) -> dict:
    """The parts of the hybrid weights before they are rescaled."""
    chosen, rejected = worked.span("chosen"), worked.span("rejected")
    toy = Span(chosen.mask_BS.new_ones(1, 4), 0, {Attribution(): torch.tensor([[1.0, 2.0, 4.0, 0.5]])})
    peak1 = Prior(normalise=False)
    return {
        "I_raw_chosen": column(chosen.importance[Attribution()]),
        "I_raw_rejected": column(rejected.importance[Attribution()]),
        "prior_T3_sigmaT/4 (peak 1)": column(peak1.raw(chosen)),
        "prior_T4_sigmaT/4 (peak 1)": column(peak1.raw(rejected)),
        "prior_T3_sigma floor 1": column(Prior(normalise=False, sigma_min=1).raw(chosen)),
        "Inorm_chosen": column(Gradient().raw(chosen)),
        "Inorm_rejected": column(Gradient().raw(rejected)),
        "toy attribution I_norm": column(Gradient().raw(toy)),
        "abl softmax-prior(z-scored I) P chosen": column(Softmax().raw(chosen)),
        "abl softmax-prior(z-scored I) P rejected": column(Softmax().raw(rejected)),
    }


def tidpo(worked) -> dict:
    """TI-DPO's weights and loss on every scale; the raw scale is the literal Eq. 8, its prior not normalised."""
    values = {}
    for rescale in ("mean1", "sum1", "raw", "max1"):
        prior = Prior(name="prior", normalise=rescale != "raw")
        pair = worked.pair(weights(worked, Hybrid(rescale=rescale, prior=prior)))
        values |= {
            f"tidpo_w_chosen {rescale}": column(pair.chosen.weights_BT),
            f"tidpo_w_rejected {rescale}": column(pair.rejected.weights_BT),
            f"tidpo_delta {rescale}": margin(pair),
            f"tidpo_LDPOw {rescale} beta=0.1": float(DPO().per_example(pair)),
        }
    floor = worked.pair(weights(worked, Hybrid(prior=Prior(name="prior", sigma_min=1))))
    released = worked.pair(weights(worked, Hybrid(**RELEASED)))
    pair = worked.pair(weights(worked, Hybrid()))
    swapped = DPO().per_example(PairScores(pair.rejected, pair.chosen))
    of_chosen, of_rejected = gradients(DPO(), pair)
    return values | {
        "tidpo mean1 + TDPO2 alpha=0.5": float(TDPO().per_example(pair)),
        "tidpo mean1 grad wrt logp chosen tokens": of_chosen,
        "tidpo mean1 grad wrt logp rejected tokens": of_rejected,
        "tidpo_w_chosen mean1 sigma floor 1": column(floor.chosen.weights_BT),
        "tidpo_w_rejected mean1 sigma floor 1": column(floor.rejected.weights_BT),
        "tidpo_LDPOw mean1 sigma floor 1": float(DPO().per_example(floor)),
        "released fullseq w_chosen (response part)": column(released.chosen.weights_BT),
        "released fullseq w_rejected (response part)": column(released.rejected.weights_BT),
        "released fullseq delta": margin(released),
        "released fullseq base loss beta=.2 alpha=.5": float(TDPO(beta=0.2).per_example(released)),
        "tidpo LDPOw batch mean over [pair, swapped pair]": float(DPO().per_example(pair) + swapped) / 2,
    }


def triplet(worked) -> dict:
    """The triplet in every alignment, for both anchors, and its gradients."""
    values = {}
    for prefix, number in (("triplet", 1), ("triplet A2", 2)):
        pair = worked.pair(anchor=number)
        for kind in ("overlap", "zero_pad", "min3", "mean"):
            loss = Triplet(reduce="mean") if kind == "mean" else Triplet(align=kind)
            values[f"{prefix} dist_pos,dist_neg {kind}"] = [float(d) for d in loss.distances(pair)]
            values[f"{prefix} margin=.01 {kind}"] = float(loss.per_example(pair))
        for at in (".5", "1.0") if number == 1 else (".5", ".001"):
            values[f"{prefix} margin={at} overlap"] = float(Triplet(margin=float(at)).per_example(pair))
    first, second = worked.pair(anchor=1), worked.pair(anchor=2)
    by_chosen, by_rejected, by_anchor = gradients(Triplet(), second)
    return values | {
        "triplet swapped (b<->c) margin=.01 overlap": float(
            Triplet().per_example(PairScores(first.rejected, first.chosen, first.sampled))
        ),
        "triplet A2 grad wrt d (overlap, margin .01)": by_anchor,
        "triplet A2 grad wrt b": by_chosen,
        "triplet A2 grad wrt c": by_rejected,
    }


def totals(worked) -> dict:
    """Weighted loss + gamma x triplet, as the objective adds them."""
    of_tidpo, of_released = weights(worked, Hybrid()), weights(worked, Hybrid(**RELEASED))

    def total(base: Component, given: tuple, anchor: int, gamma: float, at: float) -> float:
        pair = worked.pair(given, anchor)
        return float(base.per_example(pair) + gamma * Triplet(margin=at).per_example(pair))

    values = {
        f"TI-DPO total mean1 gamma=.1 margin={at}": total(DPO(), of_tidpo, 1, 0.1, float(at))
        for at in (".01", ".5", "1.0")
    }
    values |= {
        f"TI-DPO total A2 mean1 kl_alpha=0 gamma={gamma} margin={at}": total(DPO(), of_tidpo, 2, gamma, at)
        for gamma, at in ((0.1, 0.01), (0.1, 0.5), (0.001, 0.001))
    }
    trio = (worked.response("chosen"), worked.response("rejected"), worked.anchor(1))
    still = PairScores(*(replace(s, policy_BT=s.reference_BT) for s in trio))
    return values | {
        "TI-DPO total mean1+TDPO2(.5) gamma=.1 margin=.5": total(TDPO(), of_tidpo, 1, 0.1, 0.5),
        "TI-DPO total A2 mean1 + TDPO2(.5) gamma=.1 margin=.01": total(TDPO(), of_tidpo, 2, 0.1, 0.01),
        "released-path total A2 (lam .2, sig n/8 floor1 full-seq, beta .2, alpha .5, gamma .001, margin .001)": total(
            TDPO(beta=0.2), of_released, 2, 0.001, 0.001
        ),
        "init value: all log-ratios 0, gamma=.1 margin=.01": float(
            DPO().per_example(still) + Triplet().coefficient * Triplet().per_example(still)
        ),
    }


def ablations(worked) -> dict:
    """The paper's Table 2 rows; the random row's draws are given, so a gradient of that size stands for them."""

    def row(**values) -> PairScores:
        return worked.pair(weights(worked, weightings.build(values.pop("name", "hybrid"), values)))

    uniform, no_prior, prior_only = row(name="uniform"), row(mix=1), row(mix=0)
    softmax = row(prior={"name": "softmax"})
    draws = {"chosen": [0.2, 0.9, 0.4], "rejected": [0.6, 0.1, 0.3, 1.0]}
    spans = {
        side: Span(worked.span(side).mask_BS, 0, {Attribution(): torch.tensor([values])})
        for side, values in draws.items()
    }
    random = worked.pair(tuple(Gradient().weights(span) for span in spans.values()))
    return {
        "abl uniform weight (== dpo_sigmoid)": float(DPO().per_example(uniform)),
        "abl no prior w_chosen (lam=1)": column(no_prior.chosen.weights_BT),
        "abl no prior w_rejected": column(no_prior.rejected.weights_BT),
        "abl no prior loss": float(DPO().per_example(no_prior)),
        "abl prior only w_chosen (lam=0)": column(prior_only.chosen.weights_BT),
        "abl prior only w_rejected": column(prior_only.rejected.weights_BT),
        "abl prior only loss": float(DPO().per_example(prior_only)),
        "abl random raw draws chosen": draws["chosen"],
        "abl random raw draws rejected": draws["rejected"],
        "abl random loss (mean1 of draws)": float(DPO().per_example(random)),
        "abl softmax-prior w_chosen": column(softmax.chosen.weights_BT),
        "abl softmax-prior w_rejected": column(softmax.rejected.weights_BT),
        "abl softmax-prior loss": float(DPO().per_example(softmax)),
    }


def tables(worked) -> dict:
    """The scale analysis of the literal Eq. 8, and the released full-sequence span."""
    literal = Hybrid(rescale="raw", prior=Prior(name="prior", normalise=False))
    scale = []
    for length in (4, 8, 16, 32, 64, 128, 256, 512):
        span = spike(length, at=0)
        prior, total = (float(w.weights(span).double().sum()) for w in (Prior(normalise=False, rescale="raw"), literal))
        scale.append([length, prior, prior / length, total / length, 0.7 / total])
    released = []
    for prompt, response in ((16, 16), (64, 64), (128, 128), (32, 224), (224, 32), (128, 64), (10, 100), (100, 10)):
        line = [prompt, response]
        for span in (
            spike(prompt + response, at=None, num_prompt=prompt),
            spike(prompt + response, at=-1, num_prompt=prompt),
        ):
            of_response = Hybrid(**RELEASED).weights(span)[0]
            line += [float(of_response.mean()), float(of_response[0]), float(of_response[-1])]
        released.append(line)
    return {
        "scale_literal_eq8: T,sumP,sumP/T,mean_W,grad_share": scale,
        "released_fullseq: P,R,uniform(mean,first,last),last-only(mean,first,last)": released,
    }


def spike(length: int, at: int | None, num_prompt: int = 0) -> Span:
    """A span whose importance lies on token `at` alone, or equally on all."""
    importance_BS = torch.ones(1, length) if at is None else torch.zeros(1, length)
    if at is not None:
        importance_BS[0, at] = 3.0
    return Span(torch.ones(1, length, dtype=torch.bool), num_prompt, {Attribution(): importance_BS})


PARTS = (scalars, importances, tidpo, triplet, totals, ablations, tables)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_numbers(part, worked, examples) -> None:
    # The table of released weights is printed with four decimals.
    wrong = [
        f"{key}: {value}, expected {examples[key]}"
        for key, value in part(worked).items()
        if not is_close(value, examples[key], 6e-5 if key.startswith("released_fullseq:") else 1e-6)
    ]
    assert wrong == []


def is_close(value, expected, tolerance: float) -> bool:
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(is_close, value, expected, [tolerance] * len(expected)))
    return math.isclose(value, expected, rel_tol=1e-6, abs_tol=tolerance)


def test_every_number_has_its_place(worked, examples) -> None:
    here = {key for part in PARTS for key in part(worked)}
    later = {key for key in examples if key.startswith(LATER)}
    assert here.isdisjoint(ELSEWHERE) and here.isdisjoint(later) and later.isdisjoint(ELSEWHERE)
    assert here | ELSEWHERE | later == set(examples)
