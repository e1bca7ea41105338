"""The policy gradient, worked by hand: four responses to one prompt, the first of which is right.

Advantages are Dr. GRPO's, 0.75 and three times -0.25; the constant divisor is 4 responses x 8 tokens.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from alignkit.advantages.base import Groups
from alignkit.advantages.group import GroupRelative
from alignkit.asks.needs import Needs
from alignkit.losses.policy_gradient import KLPenalty, PolicyGradient
from alignkit.scores import RolloutScores, TokenScores

WEIGHTS = ((1.5, 0.5), (2.0, 1.0, 0.5, 0.5), (0.25, 0.25, 0.5, 3.0), (1.0, 1.0))
PLAIN = tuple((1.0,) * len(row) for row in WEIGHTS)
MOVED = ((0.3, -0.4), (0.3, -0.4, 0.1, -0.1), (0.5, 0.0, 0.0, -0.3), (0.2, 0.2))
STILL = tuple((0.0,) * len(row) for row in WEIGHTS)


def rows(values, pad: float = 0.0) -> torch.Tensor:
    """[B, T] float64, padded on the right."""
    width = max(map(len, values))
    return torch.tensor([[*row, *[pad] * (width - len(row))] for row in values], dtype=torch.float64)


def rollouts(logratios=STILL, weights=PLAIN, rewards=(1.0, 0.0, 0.0, 0.0)) -> RolloutScores:
    """Responses that have moved so far from the policy that sampled them."""
    mask_BT = rows([[1.0] * len(row) for row in logratios]).bool()
    old_BT = rows([[-1.0 - 0.1 * t for t in range(len(row))] for row in logratios])
    policy_BT = (old_BT + rows(logratios)).requires_grad_()
    groups = Groups(torch.tensor([rewards]).double(), torch.ones(1, len(rewards)).bool(), mask_BT[None])
    (advantage_BT,) = GroupRelative(scale="none").per_token(groups)
    reference_BT = (old_BT + 0.25).where(mask_BT, 0.0)
    return RolloutScores(TokenScores(policy_BT, mask_BT, rows(weights), reference_BT), advantage_BT, old_BT, 8)


def built(**parameters) -> PolicyGradient:
    return PolicyGradient(**{"name": "policy_gradient", "clip": (0.2, 0.28), **parameters})


def total(loss: PolicyGradient, scores: RolloutScores) -> torch.Tensor:
    """What the objective makes of its terms, when this is the whole step."""
    return sum(term.value_B.sum() / scores.count(term.unit) for term in loss.terms(scores))


def gradient(loss: PolicyGradient, scores: RolloutScores) -> torch.Tensor:
    """[B, T] of the total, by the policy's log-probs."""
    return torch.autograd.grad(total(loss, scores), scores.response.policy_BT)[0]


def one(logratio: float, advantage: float, weight: float = 1.0, reference: float | None = None) -> RolloutScores:
    """A response of one token, old log-prob -1."""
    value = torch.ones(1, 1, dtype=torch.float64)
    policy_BT = (-value + logratio).requires_grad_()
    response = TokenScores(policy_BT, value.bool(), weight * value, None if reference is None else reference * value)
    return RolloutScores(response, advantage * value, -value, 8)


def close(got: torch.Tensor, wanted, atol: float = 1e-6) -> None:
    torch.testing.assert_close(got.detach(), torch.as_tensor(wanted, dtype=got.dtype), atol=atol, rtol=0)


class TestBeforeItMoves:
    """All ratios are 1: the loss is about the advantages only."""

    @pytest.mark.parametrize("weights", [PLAIN, WEIGHTS], ids=["plain", "weighted"])
    @pytest.mark.parametrize(
        ("average", "value", "size"),
        [("tokens", 1 / 12, 1 / 3), ("examples", 0.0, 0.375), ("constant", 0.03125, 0.125)],
    )
    def test_value_and_size_of_the_gradient(self, average, value, size, weights) -> None:
        """Tokens: -(2 x 0.75) + 10 x 0.25 = 1, over 12 or 32; mean-1 weights change neither."""
        loss, scores = built(average=average), rollouts(STILL, weights)
        close(total(loss, scores), value)
        close(gradient(loss, scores).abs().sum(), size)

    @pytest.mark.parametrize(
        ("weights", "first", "second"),
        [
            (PLAIN, (-0.0625, -0.0625), (0.020833,) * 4),
            (WEIGHTS, (-0.09375, -0.03125), (0.041667, 0.020833, 0.010417, 0.010417)),
        ],
        ids=["plain", "weighted"],
    )
    def test_gradient_of_each_token(self, weights, first, second) -> None:
        gradient_BT = gradient(built(), rollouts(STILL, weights))
        close(gradient_BT[0, :2], first)
        close(gradient_BT[1], second)
        assert (gradient_BT[~rollouts().response.mask_BT] == 0).all()


class TestAfterItMoved:
    @pytest.mark.parametrize(
        ("weights", "values"),
        [(PLAIN, (0.108342, 0.028004, 0.040628)), (WEIGHTS, (0.078005, -0.009038, 0.029252))],
        ids=["plain", "weighted"],
    )
    def test_value(self, weights, values) -> None:
        for average, value in zip(("tokens", "examples", "constant"), values, strict=True):
            close(total(built(average=average), rollouts(MOVED, weights)), value)

    @pytest.mark.parametrize("weights", [PLAIN, WEIGHTS], ids=["plain", "weighted"])
    def test_weights_never_change_what_is_clipped(self, weights) -> None:
        """exp(.3) > 1.28 with A > 0; exp(-.4) and exp(-.3) < .8 with A < 0."""
        scores = rollouts(MOVED, weights)
        silent_BT = (gradient(built(), scores) == 0) & scores.response.mask_BT
        assert silent_BT.nonzero().tolist() == [[0, 0], [1, 1], [2, 3]]

    def test_what_is_logged(self) -> None:
        """Of 12 tokens two are below .8 with A < 0, one is above 1.28 with A > 0; k3 is exp(x) - x - 1 at ref - lp."""
        scores = rollouts(MOVED)
        metrics = built().metrics(scores)
        assert not any(getattr(part, "requires_grad", False) for parts in metrics.values() for part in parts)
        got = {name: float(part) for name, (part, count) in metrics.items() if int(count) == 12}
        away = [0.25 - x for row in MOVED for x in row]
        assert got == pytest.approx(
            {
                "clip_ratio/low_mean": 2.0,
                "clip_ratio/high_mean": 1.0,
                "clip_ratio/region_mean": 3.0,
                "ratio/mean": sum(math.exp(x) for row in MOVED for x in row),
                "entropy": -scores.response.policy_BT.sum().item(),
                "kl": sum(math.exp(x) - x - 1 for x in away),
            }
        )

    def test_without_reference_or_clip_nothing_is_logged_of_them(self) -> None:
        scores = rollouts(MOVED)
        bare = replace(scores, response=replace(scores.response, reference_BT=None))
        assert set(built(clip=None).metrics(bare)) == {"ratio/mean", "entropy"}

    def test_ratios_of_responses_are_logged_by_response(self) -> None:
        """exp(-.05), exp(-.025), exp(.05), exp(.2); of these only the first has A > 0."""
        metrics = built(ratio="sequence", average="examples", clip=(0.02, 0.01)).metrics(rollouts(MOVED))
        ratios = [math.exp(x) for x in (-0.05, -0.025, 0.05, 0.2)]
        assert [float(x) for x in metrics["ratio/mean"]] == pytest.approx([sum(ratios), 4.0])
        assert [float(x) for x in metrics["clip_ratio/low_mean"]] == [1.0, 4.0]
        assert [float(x) for x in metrics["clip_ratio/high_mean"]] == [0.0, 4.0]


class TestRatioOfTheResponse:
    @pytest.mark.parametrize("weights", [PLAIN, WEIGHTS], ids=["plain", "weighted"])
    def test_value_by_token(self, weights) -> None:
        """Ratios .951229, .975310, 1.051271, 1.221403: the value has one ratio and one advantage per response."""
        loss = built(ratio="sequence_token", average="examples")
        close(total(loss, rollouts(MOVED, weights)), 0.024643)

    @pytest.mark.parametrize(
        ("weights", "second"),
        [(PLAIN, (0.015239,) * 4), (WEIGHTS, (0.030478, 0.015239, 0.007620, 0.007620))],
        ids=["plain", "weighted"],
    )
    def test_gradient_by_token(self, weights, second) -> None:
        loss = built(ratio="sequence_token", average="examples")
        close(gradient(loss, rollouts(MOVED, weights))[1], second)

    def test_both_forms_are_one_where_advantages_and_weights_are_equal(self) -> None:
        scores = rollouts(MOVED)
        by_token, whole = (built(ratio=r, average="examples") for r in ("sequence_token", "sequence"))
        close(total(whole, scores), total(by_token, scores).item(), 1e-12)
        close(gradient(whole, scores), gradient(by_token, scores), 1e-12)

    def test_weights_enter_the_mean_of_the_ratio(self) -> None:
        """Row 1: 2 x .3 - .4 + .05 - .05 = .2 over 4; A = -.25 and nothing is clipped: .25 exp(.05)."""
        value_B = built(ratio="sequence", average="examples").per_example(rollouts(MOVED, WEIGHTS))
        close(value_B[1], 0.25 * math.exp(0.05))

    def test_the_sum_of_log_ratios(self) -> None:
        """Sums -.1, -.1, .2, .4: exp(.4) is beyond 1.28 with A < 0, where the larger one counts."""
        value_B = built(ratio="sequence_sum", average="examples").per_example(rollouts(MOVED))
        close(value_B, [-0.75 * math.exp(-0.1)] + [0.25 * math.exp(x) for x in (-0.1, 0.2, 0.4)])

    def test_of_a_response_of_one_token_all_ratios_are_one(self) -> None:
        scores = one(0.1, -1.0)
        values = {
            ratio: total(built(ratio=ratio, average="examples"), scores).item()
            for ratio in ("token", "sequence", "sequence_token", "sequence_sum")
        }
        assert values == {ratio: pytest.approx(math.exp(0.1)) for ratio in values}


class TestClip:
    @pytest.mark.parametrize(
        ("ratio", "advantage", "parameters", "value", "moves"),
        [
            (5.0, -1.0, {}, 5.0, True),
            (5.0, -1.0, {"dual_clip": 3.0}, 3.0, False),
            (1.35, 1.0, {}, -1.28, False),
            (1.35, 1.0, {"clip": None}, -1.35, True),
            (0.7, -1.0, {}, 0.8, False),
            (0.7, 1.0, {}, -0.7, True),
            (5.0, 1.0, {"dual_clip": 3.0}, -1.28, False),
            (2.0, -1.0, {"dual_clip": 3.0}, 2.0, True),
        ],
    )
    def test_one_token(self, ratio, advantage, parameters, value, moves) -> None:
        """What moves has the gradient -ratio x advantage; weight 2 doubles both."""
        for weight in (1.0, 2.0):
            scores = one(math.log(ratio), advantage, weight)
            close(total(built(**parameters), scores), weight * value)
            close(gradient(built(**parameters), scores), [[-ratio * advantage * weight * moves]])

    @pytest.mark.parametrize(
        ("ratio", "advantage", "clipped"), [(5.0, 1.0, 1.28), (5.0, -1.0, 1.28), (0.5, 1.0, 0.8), (1.1, 1.0, 1.1)]
    )
    def test_cispo_keeps_the_gradient(self, ratio, advantage, clipped) -> None:
        """-clip(ratio) x A x w x lp, the ratio a constant; lp is -1 + log ratio."""
        loss, logratio = built(surrogate="cispo"), math.log(ratio)
        close(total(loss, one(logratio, advantage, 2.0)), -clipped * advantage * 2 * (logratio - 1))
        close(gradient(loss, one(logratio, advantage, 2.0)), [[-clipped * advantage * 2]])

    def test_ratios_beyond_what_exp_holds_stay_finite(self) -> None:
        for ratio in ("token", "sequence", "sequence_token", "sequence_sum"):
            loss = built(ratio=ratio, average="examples")
            for logratio in (-1e4, 1e4):
                scores = one(logratio, -1.0)
                assert torch.isfinite(total(loss, scores)) and torch.isfinite(gradient(loss, scores)).all()


class TestWeights:
    @pytest.mark.parametrize("ratio", ["token", "sequence", "sequence_token", "sequence_sum"])
    def test_for_positive_advantages_only(self, ratio) -> None:
        """Row 0 as weighted, the others as plain."""
        loss = built(ratio=ratio, average="examples", apply_weights_to="positive")
        both = built(ratio=ratio, average="examples")
        got_B = loss.per_example(rollouts(MOVED, WEIGHTS))
        weighted_B, plain_B = (both.per_example(rollouts(MOVED, weights)) for weights in (WEIGHTS, PLAIN))
        assert got_B.tolist() == [weighted_B[0].item(), *plain_B[1:].tolist()]

    def test_the_kl_is_not_weighted(self) -> None:
        loss = built(kl=KLPenalty(coefficient=0.5))
        weighted, plain = (loss.terms(rollouts(MOVED, weights))[1].value_B for weights in (WEIGHTS, PLAIN))
        assert torch.equal(weighted, plain)

    def test_permuting_a_group_permutes(self) -> None:
        order = [2, 0, 3, 1]
        scores = rollouts(MOVED, WEIGHTS)
        turned = rollouts(
            [MOVED[i] for i in order], [WEIGHTS[i] for i in order], tuple((1.0, 0.0, 0.0, 0.0)[i] for i in order)
        )
        assert torch.equal(built().per_example(turned), built().per_example(scores)[order])

    def test_weights_that_look_ahead_are_no_baseline(self) -> None:
        """Two binary tokens, 1 with probability .6, always reward 1; weights 2 and 0 where both are 1, else 1 and 1.

        Unweighted, a constant reward gives no gradient. Weighted, .36 x (1 - .6) moves from the second to the first.
        """
        logit_T = torch.full((2,), math.log(1.5), dtype=torch.float64, requires_grad=True)
        outcomes_BT = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0]])
        signs_BT = 2 * outcomes_BT - 1
        policy_BT = torch.nn.functional.logsigmoid(signs_BT * logit_T)
        probability_B = policy_BT.detach().sum(-1).exp()
        ones_BT = torch.ones_like(policy_BT).detach()
        found = {}
        for name, first in (("plain", (1.0, 1.0)), ("ahead", (2.0, 0.0))):
            response = TokenScores(policy_BT, ones_BT.bool(), rows([first, (1.0, 1.0), (1.0, 1.0), (1.0, 1.0)]))
            value_B = built().per_example(RolloutScores(response, ones_BT, policy_BT.detach(), 2))
            (found[name],) = torch.autograd.grad((probability_B * value_B).sum(), logit_T, retain_graph=True)
        close(found["plain"], [0.0, 0.0])
        close(found["ahead"], [-0.144, 0.144])

    def test_a_dead_group_without_kl_is_no_gradient(self) -> None:
        assert (gradient(built(), rollouts(MOVED, WEIGHTS, (1.0, 1.0, 1.0, 1.0))) == 0).all()


POLICY = (0.4, 0.3, 0.2, 0.1)
TRUE = (0.145425, 0.022764, -0.065917, -0.102273)
"""Gradient by logits of KL(policy || uniform)."""


def expected_gradient(loss: PolicyGradient, penalise: bool = False) -> torch.Tensor:
    """[4] gradient by logits of the loss of one token, the mean over what the policy samples.

    Args:
        loss: what is minimised.
        penalise: take coefficient x log(policy / reference) off a reward of 0, which is the advantage then.
    """
    probability_V = torch.tensor(POLICY, dtype=torch.float64)
    logits_V = probability_V.log().requires_grad_()
    policy_B1 = logits_V.log_softmax(-1)[:, None]
    reference_B1 = torch.full_like(policy_B1, math.log(0.25))
    ones_B1 = torch.ones_like(policy_B1).detach()
    advantage_B1 = loss.penalty * (reference_B1 - policy_B1.detach()) if penalise else 0 * ones_B1
    response = TokenScores(policy_B1, ones_B1.bool(), ones_B1, reference_B1)
    scores = RolloutScores(response, advantage_B1, policy_B1.detach(), 1)
    value_B = sum(term.value_B for term in loss.terms(scores))
    return torch.autograd.grad((probability_V * value_B).sum(), logits_V)[0]


class TestKL:
    @pytest.mark.parametrize(
        ("estimator", "value", "slope"),
        [("k2", 0.005, -0.1), ("k3", 0.005171, -0.105171), ("k3_corrected", 0.005171, -0.1)],
    )
    def test_one_token(self, estimator, value, slope) -> None:
        """lp -1, reference -.9; the corrected slope is -.1 exactly: k3 - (exp(.1) - 1) = -.1."""
        loss = built(kl=KLPenalty(coefficient=1.0, estimator=estimator))
        scores = one(0.0, 0.0, reference=-0.9)
        close(total(loss, scores), value)
        close(gradient(loss, scores), [[slope]], 1e-12 if slope == -0.1 else 1e-6)

    @pytest.mark.parametrize("estimator", ["k2", "k3_corrected", "k1_in_reward"])
    def test_has_the_gradient_of_the_kl(self, estimator) -> None:
        loss = built(kl=KLPenalty(coefficient=1.0, estimator=estimator))
        close(expected_gradient(loss, penalise=estimator == "k1_in_reward"), TRUE)

    def test_k3_has_not(self) -> None:
        close(expected_gradient(built(kl=KLPenalty(coefficient=1.0, estimator="k3"))), (0.15, 0.05, -0.05, -0.15))

    def test_the_true_gradient_is_that_of_the_sum_over_the_vocabulary(self) -> None:
        logits_V = torch.tensor(POLICY, dtype=torch.float64).log().requires_grad_()
        logp_V = logits_V.log_softmax(-1)
        close(torch.autograd.grad((logp_V.exp() * (logp_V - math.log(0.25))).sum(), logits_V)[0], TRUE)

    @pytest.mark.parametrize(
        ("average", "divisor_B", "unit"),
        [
            ("tokens", (1, 1, 1, 1), "tokens"),
            ("examples", (2, 4, 4, 2), "examples"),
            ("constant", (8,) * 4, "examples"),
        ],
    )
    def test_is_a_term_that_is_averaged_alike(self, average, divisor_B, unit) -> None:
        """k2 of a log-ratio x - .25, times .5."""
        terms = built(average=average, kl=KLPenalty(coefficient=0.5)).terms(rollouts(MOVED))
        assert [(term.name, term.unit) for term in terms] == [("policy_gradient", unit), ("policy_gradient_kl", unit)]
        sums = [sum((x - 0.25) ** 2 for x in row) / 4 for row in MOVED]
        close(terms[1].value_B, [value / by for value, by in zip(sums, divisor_B, strict=True)], 1e-12)

    def test_asks_for_the_reference_only_where_it_counts(self) -> None:
        in_reward = built(kl=KLPenalty(coefficient=0.1, estimator="k1_in_reward"))
        assert built().needs() == Needs() and in_reward.needs() == Needs(reference=True)
        assert in_reward.penalty == 0.1 and built(kl=KLPenalty(coefficient=0.1)).penalty == 0.0
        assert [term.name for term in in_reward.terms(rollouts())] == ["policy_gradient"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"ratio": "sequence"},
            "ratio 'sequence' gives one value per response, so average 'tokens' has no meaning; "
            "set average to examples",
        ),
        (
            {"ratio": "sequence_sum", "average": "constant"},
            "ratio 'sequence_sum' gives one value per response, so average 'constant' has no meaning; "
            "set average to examples",
        ),
        (
            {"ratio": "sequence", "average": "examples", "surrogate": "cispo"},
            "surrogate 'cispo' needs a ratio per token, got 'sequence'; use token or sequence_token",
        ),
        (
            {"surrogate": "cispo", "dual_clip": 3.0},
            "'dual_clip' has no use with surrogate 'cispo'; leave it out",
        ),
        (
            {"clip": (1.2, 0.2)},
            "expected [below, above], how far from 1, with 0 <= below <= 1 and above >= 0, got [1.2, 0.2]",
        ),
        ({"dual_clip": 1.0}, "Input should be greater than 1"),
    ],
)
def test_what_does_not_fit_is_refused(parameters, message) -> None:
    with pytest.raises(ValidationError) as caught:
        built(**parameters)
    assert [e["msg"] for e in caught.value.errors()] == [message]
