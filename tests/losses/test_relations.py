"""What holds for every loss and every branch of one: what the conformance kit checks, and derivatives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from alignkit.conformance import check_component
from alignkit.conformance.scored import at_rest, each_tensor
from alignkit.losses import losses
from alignkit.losses.base import Loss
from alignkit.losses.dpo import DPO
from alignkit.losses.policy_gradient import KLPenalty
from alignkit.models.statistics import Collision, ForwardKL, ReverseKL, Statistic
from alignkit.scores import PairScores, ResponseScores, RolloutScores, Span, TokenScores, UnpairedScores, View
from alignkit.weighting.uniform import Uniform

# Every built-in loss, and every branch of it that has a formula of its own.
VARIANTS: dict[str, dict] = {
    "sft": {"name": "sft"},
    "dpo": {"name": "dpo"},
    "weighted_dpo": {"name": "weighted_dpo", "beta": 0.5},
    "tdpo1": {"name": "tdpo", "version": 1},
    "tdpo2": {"name": "tdpo", "alpha": 0.3},
    "dpo smoothed": {"name": "dpo", "label_smoothing": 0.2},
    "robust": {"name": "robust"},
    # At beta 0.01 every pair of these scores is inside the hinge.
    "hinge": {"name": "hinge", "beta": 0.01},
    "ipo": {"name": "ipo"},
    "ipo summed": {"name": "ipo", "length_norm": False},
    "chi_po": {"name": "chi_po"},
    "chi_po bounded": {"name": "chi_po", "bound": 50.0},
    "sigmoid_norm": {"name": "sigmoid_norm"},
    "simpo": {"name": "simpo"},
    "orpo": {"name": "orpo"},
    "orpo full": {"name": "orpo", "nll_on": "full"},
    "cpo": {"name": "cpo"},
    "cpo smoothed": {"name": "cpo", "label_smoothing": 0.2, "alpha": 0.0},
    "tpo": {"name": "tpo"},
    "tpo_l": {"name": "tpo_l"},
    "tis_dpo": {"name": "tis_dpo"},
    "tis_dpo kl": {"name": "tis_dpo", "kl_alpha": 0.5},
    "cdpo": {"name": "cdpo"},
    "cdpo per_position": {"name": "cdpo", "form": "per_position", "weigh_chosen": True},
    "kto": {"name": "kto"},
    "kto weighed": {"name": "kto", "desirable_weight": 1.3, "undesirable_weight": 0.7},
    "nll": {"name": "nll"},
    "calibrated_nll": {"name": "calibrated_nll"},
    # A margin of 30 keeps every pair inside the hinge, where the loss has a gradient.
    "triplet": {"name": "triplet", "margin": 30.0},
    "triplet zero_pad": {"name": "triplet", "margin": 30.0, "align": "zero_pad"},
    "triplet min3": {"name": "triplet", "margin": 30.0, "align": "min3", "reduce": "mean"},
    "policy_gradient": {"name": "policy_gradient"},
    "beta_dpo": {"name": "beta_dpo"},
    "epsilon_dpo": {"name": "epsilon_dpo", "beta": 0.1},
    "alpha_dpo": {"name": "alpha_dpo"},
    "gamma_po": {"name": "gamma_po"},
    "policy_gradient examples": {"name": "policy_gradient", "average": "examples", "kl": KLPenalty(coefficient=0.1)},
    "policy_gradient constant": {
        **{"name": "policy_gradient", "average": "constant", "clip": (0.9, 1.0), "dual_clip": 3.0},
        "kl": KLPenalty(coefficient=0.1, estimator="k3"),
    },
    "policy_gradient corrected": {
        **{"name": "policy_gradient", "clip": None, "apply_weights_to": "positive"},
        "kl": KLPenalty(coefficient=0.1, estimator="k3_corrected"),
    },
    "policy_gradient sequence": {"name": "policy_gradient", "ratio": "sequence", "average": "examples"},
    "policy_gradient sequence_sum": {"name": "policy_gradient", "ratio": "sequence_sum", "average": "examples"},
    # These scores' chosen responses lie on both sides of the reference.
    "dpop": {"name": "dpop"},
    "alphapo": {"name": "alphapo"},
    "alphapo flat": {"name": "alphapo", "alpha": -0.5},
    "alphapo simpo": {"name": "alphapo", "alpha": 0.0},
    # A margin of 9 keeps every pair below it, where the loss has a gradient.
    "repo": {"name": "repo", "gamma": 9.0},
    "cal_dpo": {"name": "cal_dpo", "beta": 0.2},
    "r_dpo": {"name": "r_dpo"},
    "apo": {"name": "apo"},
    "apo down": {"name": "apo", "form": "down"},
    "apo_unpaired": {"name": "apo_unpaired", "desirable_weight": 1.3, "undesirable_weight": 0.7},
    "nca": {"name": "nca"},
    "exo": {"name": "exo"},
    "exo soft": {"name": "exo", "label_smoothing": 0.2},
    "discopop": {"name": "discopop"},
    "f_dpo reverse_kl": {"name": "f_dpo", "divergence": "reverse_kl"},
    "f_dpo forward_kl": {"name": "f_dpo", "divergence": "forward_kl"},
    "f_dpo js": {"name": "f_dpo"},
    "f_dpo alpha": {"name": "f_dpo", "divergence": "alpha"},
    "sppo": {"name": "sppo"},
    # At rest, as of single pairs; of steps in test_whole_steps.py.
    "bco": {"name": "bco"},
    "bco unshifted": {"name": "bco", "shift": "none"},
    "bco_unpaired": {"name": "bco_unpaired"},
    "aot": {"name": "aot"},
    "aot unpaired": {"name": "aot", "form": "unpaired", "label_smoothing": 0.2},
    "kl_off": {"name": "kl_off"},
}
LENGTHS = {"chosen": (3, 5, 1), "rejected": (4, 2, 3), "sampled": (5, 3, 2), "gold_response": (2, 4, 3)}


FORWARD, REVERSE = ForwardKL(), ReverseKL()


@pytest.fixture(params=VARIANTS.values(), ids=list(VARIANTS))
def loss(request) -> Loss:
    return losses.build(request.param["name"], request.param)


def response(lengths: tuple[int, ...], seed: int) -> TokenScores:
    """Random scores with random weights of mean 1, right-padded, float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    mask_BT = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]

    def draw() -> torch.Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64).masked_fill(~mask_BT, 0.0)

    weights_BT = draw()
    weights_BT = weights_BT * (mask_BT.sum(-1) / weights_BT.sum(-1))[:, None]
    prompt_mask_BP = torch.arange(4) < torch.tensor(lengths)[:, None].clamp_max(3)
    prompt_BP = -torch.rand(prompt_mask_BP.shape, generator=generator, dtype=torch.float64) * prompt_mask_BP
    policy_BT, reference_BT = -3 * draw(), -3 * draw()
    statistics = {FORWARD: draw(), REVERSE: draw(), Collision(): -draw()}
    return TokenScores(policy_BT, mask_BT, weights_BT, reference_BT, statistics, prompt_BP, prompt_mask_BP)


@pytest.fixture
def trio() -> dict[str, TokenScores]:
    return {side: response(lengths, seed) for seed, (side, lengths) in enumerate(LENGTHS.items())}


def view(loss: Loss, trio: dict[str, TokenScores]) -> View:
    trio = {side: replace(scores, decided=at_rest(loss.needs())) for side, scores in trio.items()}
    if loss.sees == "responses":
        return ResponseScores(trio["chosen"])
    if loss.sees == "rollouts":  # advantages of both signs, sampled by the reference
        response = trio["chosen"]
        advantage_BT = (response.weights_BT - 0.5).where(response.mask_BT, 0.0)
        return RolloutScores(response, advantage_BT, response.reference_BT, 8)
    if loss.sees == "labelled responses":  # desirable where its length says so, so that it moves with its row
        desirable_B = trio["chosen"].length_B != 5
        return UnpairedScores(trio["chosen"], desirable_B, torch.tensor(0.3, dtype=torch.float64))
    columns = {name: torch.full((len(trio["chosen"].mask_BT),), 5.0) for name in loss.needs().columns}
    if loss.name == "calibrated_nll":  # counts only where the reference finds the chosen response likelier
        chosen = trio["chosen"]
        reference_BT = (chosen.policy_BT.detach() + 0.1).where(chosen.mask_BT, 0.0)
        trio = trio | {"chosen": replace(chosen, reference_BT=reference_BT)}
    return PairScores(**trio, columns=columns)


def value_B(loss: Loss, trio: dict[str, TokenScores]) -> torch.Tensor:
    """[B] the loss and the terms of their own that some have beside it."""
    return torch.stack([term.value_B for term in loss.terms(view(loss, trio))]).sum(0)


def mapped(trio: dict[str, TokenScores], change) -> dict[str, TokenScores]:
    """The same scores with `change` applied to each of their tensors."""
    return {side: each_tensor(s, lambda _, value: change(value)) for side, s in trio.items()}


def test_every_built_in_loss_is_tested_here() -> None:
    built_in = {name for name in losses.names() if losses.owner(name).startswith("alignkit.")}
    assert {variant["name"] for variant in VARIANTS.values()} == built_in


def test_it_keeps_what_all_losses_promise(loss) -> None:
    """Padding, order, neighbours, one token, far log-ratios, what is asked for, the reference: the conformance kit."""
    check_component(loss)


def test_one_token_gives_no_nan(loss) -> None:
    if loss.reads_weights:
        return  # a single token weighs 1, and is left alone
    trio = {side: response((1,), seed) for seed, side in enumerate(LENGTHS)}
    leaf = trio["chosen"].policy_BT.requires_grad_()
    values_B = value_B(loss, trio)
    (gradient,) = torch.autograd.grad(values_B.sum(), leaf)
    assert torch.isfinite(values_B).all() and torch.isfinite(gradient).all() and (gradient != 0).all()


def test_derivatives_match_finite_differences(loss, trio) -> None:
    """gradcheck in float64, by every tensor with a gradient that the loss asks for, of all its responses.

    TDPO2 stops the gradient of the chosen KL, which finite differences cannot see, so that one is held fixed.
    """
    stopped = ("chosen", FORWARD) if getattr(loss, "version", None) == 2 else None
    needs = loss.needs()
    asked: list[str | Statistic] = ["policy_BT", *(one for one in needs.statistics if one.has_gradient)]
    given = {"chosen": True, "rejected": True, "sampled": needs.anchor, "gold_response": needs.gold}
    names = [(side, leaf) for side in trio if given[side] for leaf in asked]
    names += [("chosen", "prompt_BP")] if needs.prompt else []
    leaves = [read(trio[side], leaf).clone().requires_grad_((side, leaf) != stopped) for side, leaf in names]

    def function(*leaves: torch.Tensor) -> torch.Tensor:
        moved = dict(trio)
        for (side, leaf), tensor in zip(names, leaves, strict=True):
            mask = trio[side].prompt_mask_BP if leaf == "prompt_BP" else trio[side].mask_BT
            moved[side] = written(moved[side], leaf, tensor.where(mask, 0.0))  # off the mask: constants
        return value_B(loss, moved)

    assert torch.autograd.gradcheck(function, tuple(leaves), atol=1e-7, rtol=1e-5)


def read(scores: TokenScores, leaf: str | Statistic) -> torch.Tensor:
    return getattr(scores, leaf) if isinstance(leaf, str) else scores.statistics[leaf]


def written(scores: TokenScores, leaf: str | Statistic, value: torch.Tensor) -> TokenScores:
    if isinstance(leaf, str):
        return replace(scores, **{leaf: value})
    return replace(scores, statistics={**scores.statistics, leaf: value})


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        *[(name, {}) for name in ("dpo", "weighted_dpo", "sigmoid_norm", "tis_dpo", "cpo", "tpo")],
        *[("r_dpo", {"alpha": 0.5}), ("f_dpo", {}), ("alphapo", {"gamma_beta_ratio": 0.0})],
        ("tdpo", {"version": 1}),
        ("tis_dpo", {"kl_alpha": 0.5}),
        ("simpo", {"gamma_beta_ratio": 0.0}),
        ("tpo_l", {"gamma": 0.0, "beta": 2.0}),
        ("orpo", {"odds_weight": 1.0}),
        ("cdpo", {"weigh_chosen": True}),
    ],
)
def test_swapping_chosen_and_rejected_flips_the_margin(name, parameters, trio) -> None:
    """The losses are -log s(m) and -log s(-m), and s(m) + s(-m) = 1."""
    loss = losses.build(name, parameters)
    there_B = loss.per_example(PairScores(trio["chosen"], trio["rejected"]))
    back_B = loss.per_example(PairScores(trio["rejected"], trio["chosen"]))
    torch.testing.assert_close((-there_B).exp() + (-back_B).exp(), torch.ones(3, dtype=torch.float64))
    assert not torch.allclose(there_B, back_B)


def test_uniform_weights_are_plain_dpo_bit_for_bit() -> None:
    """float32, 64 pairs of up to 200 tokens: -log s(beta (sum b - sum c)) with no weight anywhere."""
    lengths = tuple(range(137, 201))
    pair = {side: response(lengths, seed) for seed, side in enumerate(("chosen", "rejected"))}
    pair = mapped(pair, lambda value: value if value.dtype is torch.bool else value.float())
    weights = {side: Uniform().weights(Span(s.mask_BT)) for side, s in pair.items()}
    got_B = DPO().per_example(PairScores(**{side: replace(s, weights_BT=weights[side]) for side, s in pair.items()}))
    margin_B = pair["chosen"].logratio_BT.sum(-1) - pair["rejected"].logratio_BT.sum(-1)
    assert torch.equal(got_B, -torch.nn.functional.logsigmoid(0.1 * margin_B))
