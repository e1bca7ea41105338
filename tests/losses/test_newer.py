"""The newer losses of pairs: by hand, what they reduce to, where they end, and what is refused.

Worked numbers are in tests/test_worked_losses.py, TRL's in tests/peer.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from alignkit.asks.needs import Needs
from alignkit.losses import losses
from alignkit.scores import PairScores, TokenScores, UnpairedScores

S_W, S_L = 1.3, -0.7
"""Log-ratios of the pair that is worked by hand."""


def response(logratio: float, tokens: int = 1, policy: float = -1.0) -> TokenScores:
    """A response whose log-ratios sum to `logratio` and whose mean log-prob is `policy`; may be differentiated."""
    policy_BT = torch.full((1, tokens), policy, dtype=torch.float64, requires_grad=True)
    ones_BT = torch.ones(1, tokens, dtype=torch.float64)
    return TokenScores(policy_BT, ones_BT.bool(), ones_BT, policy_BT.detach() - logratio / tokens)


def pair(chosen: float = S_W, rejected: float = S_L, tokens: tuple[int, int] = (1, 1)) -> PairScores:
    return PairScores(response(chosen, tokens[0]), response(rejected, tokens[1]))


def of_means(chosen: float, rejected: float) -> PairScores:
    return PairScores(response(0.0, policy=chosen), response(0.0, policy=rejected))


def value(name: str, scores: PairScores | UnpairedScores, **parameters) -> float:
    return losses.build(name, parameters).per_example(scores).item()


def gradients(name: str, scores: PairScores, **parameters) -> list[float]:
    """By the first token's log-prob of chosen and rejected."""
    leaves = [scores.chosen.policy_BT, scores.rejected.policy_BT]
    found = torch.autograd.grad(losses.build(name, parameters).per_example(scores).sum(), leaves)
    return [gradient[0, 0].item() for gradient in found]


def s(x: float) -> float:
    """The sigmoid."""
    return 1 / (1 + math.exp(-x))


def nls(x: float) -> float:
    """-log sigmoid(x)."""
    return math.log1p(math.exp(-x))


Q = s(0.5 * (S_W - S_L))

BY_HAND = [
    ("dpop", {"beta": 0.5, "drop_penalty": 3.0}, nls(0.5 * (S_W - S_L))),
    ("r_dpo", {"beta": 0.5, "alpha": 0.2}, nls(0.5 * (S_W - S_L) + 0.2 * (2 - 5))),
    ("cal_dpo", {"beta": 0.5}, nls(S_W - S_L) + ((S_W - 1) ** 2 + (S_L + 1) ** 2) / 2),
    ("apo", {"beta": 0.5}, 1 - s(0.5 * S_W) + s(0.5 * S_L)),
    ("apo", {"beta": 0.5, "form": "down"}, s(0.5 * S_W) + 1 - s(0.5 * (S_W - S_L))),
    ("nca", {"beta": 0.5}, nls(0.5 * S_W) + (nls(-0.5 * S_W) + nls(-0.5 * S_L)) / 2),
    (
        "exo",
        {"beta": 0.5, "label_smoothing": 0.2},
        Q * math.log(Q / 0.8) + (1 - Q) * math.log((1 - Q) / 0.2),
    ),
    ("discopop", {"beta": 0.5, "tau": 0.5}, nls(1.0) * (1 - s(2.0)) + math.exp(-1.0) * s(2.0)),
    ("sppo", {"beta": 0.5}, (S_W - 1) ** 2 + (S_L + 1) ** 2),
    ("f_dpo", {"beta": 0.5, "divergence": "reverse_kl"}, nls(0.5 * (S_W - S_L))),
    ("f_dpo", {"beta": 0.5, "divergence": "forward_kl"}, nls(0.5 * (math.exp(-S_L) - math.exp(-S_W)))),
    ("f_dpo", {"beta": 0.5}, nls(0.5 * (nls(S_L) - nls(S_W)))),
    (
        "f_dpo",
        {"beta": 0.5, "divergence": "alpha"},
        nls(0.5 * ((math.exp(-0.5 * S_W) - 1) / -0.5 - (math.exp(-0.5 * S_L) - 1) / -0.5)),
    ),
]


@pytest.mark.parametrize(("name", "parameters", "expected"), BY_HAND)
def test_by_hand(name, parameters, expected) -> None:
    """Log-ratios 1.3 and -0.7, of 2 and 5 tokens, against the formulas written with `math`."""
    assert value(name, pair(tokens=(2, 5)), **parameters) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        *[(name, {}, math.log(2)) for name in ("dpop", "r_dpo", "f_dpo")],
        ("discopop", {}, (math.log(2) + 1) / 2),
        ("nca", {}, 2 * math.log(2)),
        ("apo", {}, 1.0),
        ("apo", {"form": "down"}, 1.0),
        ("sppo", {"beta": 0.1}, 50.0),
        ("cal_dpo", {"beta": 0.1}, 25 + math.log(2)),
        ("exo", {"label_smoothing": 0.1}, math.log(0.5) - (math.log(0.9) + math.log(0.1)) / 2),
    ],
)
def test_starts_at(name, parameters, expected) -> None:
    """Policy equal to the reference, responses of one length."""
    assert value(name, pair(0.0, 0.0), **parameters) == pytest.approx(expected, abs=1e-12)


class TestSpecialCases:
    """What a loss is where its own part is switched off, bit for bit where nothing is left of it."""

    @pytest.mark.parametrize(
        ("name", "parameters"),
        [
            ("dpop", {"drop_penalty": 0.0}),
            ("r_dpo", {"alpha": 0.0}),
            ("f_dpo", {"divergence": "reverse_kl"}),
        ],
    )
    @pytest.mark.parametrize("logratios", [(S_W, S_L), (-2.0, 0.4), (-300.0, 80.0)])
    def test_it_is_dpo(self, name, parameters, logratios) -> None:
        """Values and gradients, of responses of different length."""
        scores = pair(*logratios, tokens=(3, 2))
        assert value(name, scores, **parameters) == value("dpo", scores)
        assert gradients(name, scores, **parameters) == gradients("dpo", scores)

    def test_dpop_is_dpo_while_the_chosen_response_has_lost_nothing(self) -> None:
        """And below it costs lambda + 1 times as much to lose more: the derivative by S_w is (1 + lambda) beta q."""
        assert value("dpop", pair(0.2, 1.0)) == value("dpo", pair(0.2, 1.0))
        chosen, rejected = gradients("dpop", pair(-0.2, 1.0), drop_penalty=5.0, beta=0.5)
        factor = s(0.5 * (1.0 + 0.2 + 5 * 0.2))
        assert (chosen, rejected) == pytest.approx((-0.5 * factor * 6, 0.5 * factor), abs=1e-12)

    def test_penalty_of_dpop_is_not_weighted(self) -> None:
        """Weights 0 take the margin away, and leave lambda x 0.4 nats."""
        scores = pair(-0.4, -0.9)
        none = PairScores(*(replace(x, weights_BT=0 * x.weights_BT) for x in (scores.chosen, scores.rejected)))
        assert value("dpop", none, drop_penalty=5.0) == pytest.approx(nls(-0.1 * 5 * 0.4), abs=1e-12)

    def test_r_dpo_of_equal_lengths_is_dpo(self) -> None:
        assert value("r_dpo", pair(tokens=(4, 4)), alpha=3.0) == value("dpo", pair(tokens=(4, 4)))

    def test_a_longer_chosen_response_is_pulled_less(self) -> None:
        """The sign: length that the chosen response has too much is margin already, so less is learnt."""
        pulls = [-gradients("r_dpo", pair(tokens=tokens), alpha=0.5)[0] for tokens in ((5, 2), (2, 2), (2, 5))]
        assert pulls[0] < pulls[1] < pulls[2]

    @pytest.mark.parametrize("beta", [0.002, 0.5])
    def test_cal_dpo_is_dpo_at_beta_1_and_half_of_sppo(self, beta) -> None:
        expected = value("dpo", pair(), beta=1.0) + value("sppo", pair(), beta=beta) / 2
        assert value("cal_dpo", pair(), beta=beta) == pytest.approx(expected, rel=1e-12)

    def test_alphapo_is_simpo_at_0_and_nearly_so_near_0(self) -> None:
        scores, shape = of_means(-0.4, -2.0), {"beta": 3.0, "gamma_beta_ratio": 0.2}
        simpo = value("simpo", scores, **shape)
        assert value("alphapo", scores, alpha=0.0, **shape) == simpo
        for alpha in (1e-7, -1e-7):
            assert value("alphapo", scores, alpha=alpha, **shape) == pytest.approx(simpo, abs=1e-6)
        assert abs(value("alphapo", scores, alpha=0.5, **shape) - simpo) > 0.01

    def test_alpha_of_alphapo_moves_the_gradient_to_the_unlikely_response(self) -> None:
        """The derivative of the reward is p^-alpha: e^0.4 alpha and e^2 alpha."""
        for alpha in (-0.5, 0.25):
            chosen, rejected = gradients("alphapo", of_means(-0.4, -2.0), alpha=alpha)
            assert -rejected / chosen == pytest.approx(math.exp(alpha * 1.6), rel=1e-12)

    def test_repo_is_simpo_at_a_large_beta_over_beta(self) -> None:
        """softplus(beta x) / beta -> max(0, x): on both sides of the margin."""
        for scores in (of_means(-1.0, -1.2), of_means(-1.0, -1.8)):
            sharp = value("simpo", scores, beta=1e4, gamma_beta_ratio=0.5) / 1e4
            assert value("repo", scores, gamma=0.5) == pytest.approx(sharp, abs=1e-6)

    def test_a_learnt_pair_has_no_gradient_in_repo(self) -> None:
        assert gradients("repo", of_means(-1.0, -1.8)) == [0.0, 0.0]
        assert gradients("repo", of_means(-1.0, -1.2)) == [-1.0, 1.0]

    @pytest.mark.parametrize(("alpha", "limit"), [(1 - 1e-8, "reverse_kl"), (1e-8, "forward_kl")])
    def test_alpha_divergence_lies_between(self, alpha, limit) -> None:
        near = value("f_dpo", pair(), divergence="alpha", alpha=alpha)
        assert near == pytest.approx(value("f_dpo", pair(), divergence=limit), abs=1e-6)

    @pytest.mark.parametrize("divergence", ["forward_kl", "js", "alpha"])
    def test_every_divergence_is_dpo_to_first_order(self, divergence) -> None:
        """f'(1) = 0 and the slope by S is 1 (js: 1/2) at the reference."""
        slope = 0.5 if divergence == "js" else 1.0
        found = gradients("f_dpo", pair(0.0, 0.0), divergence=divergence)
        assert found == pytest.approx([slope * g for g in gradients("dpo", pair(0.0, 0.0))], abs=1e-12)

    def test_exo_is_zero_and_flat_at_its_label(self) -> None:
        """Where the policy prefers the chosen response with probability 0.8; and it is a divergence elsewhere."""
        margin = math.log(0.8 / 0.2)
        at = {"beta": 1.0, "label_smoothing": 0.2}
        assert value("exo", pair(margin, 0.0), **at) == pytest.approx(0.0, abs=1e-12)
        assert gradients("exo", pair(margin, 0.0), **at) == pytest.approx([0.0, 0.0], abs=1e-12)
        assert value("exo", pair(margin + 0.1, 0.0), **at) > 0 < value("exo", pair(margin - 0.1, 0.0), **at)

    def test_nca_holds_the_chosen_response_at_a_finite_lead(self) -> None:
        """-log s(r) - log s(-r) / 2 is flat where s(r) = 2/3: r = ln 2, whatever the rejected response does."""
        for rejected in (-5.0, 0.0, 5.0):
            assert gradients("nca", pair(math.log(2), rejected), beta=1.0)[0] == pytest.approx(0.0, abs=1e-12)

    def test_sppo_and_cal_dpo_pull_to_their_targets(self) -> None:
        """1 / (2 x 0.25) = 2 nats either way: SPPO is zero and flat there."""
        assert value("sppo", pair(2.0, -2.0), beta=0.25) == 0.0
        assert gradients("sppo", pair(3.0, -2.5), beta=0.25) == pytest.approx([2.0, -1.0], abs=1e-12)

    def test_the_two_forms_of_apo_pull_the_chosen_response_apart(self) -> None:
        """Zero raises it and lowers the rejected one, by the same at the start. Down lowers only the rejected one, and
        the chosen one where the rejected one is far behind."""
        assert gradients("apo", pair(0.0, 0.0)) == pytest.approx([-0.025, 0.025], abs=1e-12)
        assert gradients("apo", pair(0.0, 0.0), form="down") == pytest.approx([0.0, 0.025], abs=1e-12)
        assert gradients("apo", pair(0.0, -30.0), form="down")[0] > 0.02

    def test_discopop_is_not_convex(self) -> None:
        """A margin m with a smaller loss than at a slightly larger one: there is a hump above 0."""
        values = [value("discopop", pair(margin, 0.0), beta=1.0) for margin in (-0.2, -0.1, 0.0, 0.1, 0.2)]
        assert values[1] < values[0] and values[1] < values[3] and values[4] < values[3]

    @pytest.mark.parametrize("name", ["apo", "nca", "sppo", "cal_dpo"])
    def test_a_single_likelihood_counts(self, name) -> None:
        """Adding the same nats to both responses changes these, and none that sees only the margin."""
        near, moved = pair(0.5, 0.1), pair(3.5, 3.1)
        assert abs(value(name, near, beta=0.5) - value(name, moved, beta=0.5)) > 0.01
        for other in ("exo", "discopop", "r_dpo"):
            assert value(other, near) == pytest.approx(value(other, moved), abs=1e-12)


class TestFar:
    """float32, where an exponential alone would be infinite and its factor zero."""

    @pytest.mark.parametrize(
        ("name", "parameters"),
        [
            ("discopop", {"beta": 1.0}),
            ("discopop", {"beta": 1.0, "tau": 1.0}),
            ("f_dpo", {"divergence": "forward_kl"}),
            ("f_dpo", {"divergence": "alpha", "alpha": 0.1}),
            ("alphapo", {"alpha": 2.0}),
            ("alphapo", {"alpha": -2.0}),
            ("exo", {"beta": 1.0}),
        ],
    )
    @pytest.mark.parametrize("logratios", [(-1000.0, 1000.0), (1000.0, -1000.0), (-1000.0, -999.0)])
    def test_values_and_gradients_are_finite(self, name, parameters, logratios) -> None:
        zero_BT = torch.zeros(1, 1)
        leaves = [torch.tensor([[x]], requires_grad=True) for x in logratios]
        scores = PairScores(*(TokenScores(x, zero_BT == 0, zero_BT + 1, zero_BT) for x in leaves))
        loss_B = losses.build(name, parameters).per_example(scores)
        assert torch.isfinite(loss_B).all()
        assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss_B.sum(), leaves))

    def test_a_far_wrong_pair_of_discopop_is_logistic(self) -> None:
        """At -1000 the switch is closed: -log s(-1000) = 1000, gradient -1; the released form has inf x 0."""
        assert value("discopop", pair(-1000.0, 0.0), beta=1.0) == pytest.approx(1000.0)
        assert gradients("discopop", pair(-1000.0, 0.0), beta=1.0) == pytest.approx([-1.0, 1.0])


class TestUnpairedAPO:
    def scores(self, logratio: float, *, desirable: bool) -> UnpairedScores:
        mismatch = torch.tensor(0.0, dtype=torch.float64)
        return UnpairedScores(response(logratio), torch.tensor([desirable]), mismatch)

    @pytest.mark.parametrize("desirable", [True, False])
    def test_it_is_kto_without_a_baseline(self, desirable) -> None:
        scores = self.scores(S_W, desirable=desirable)
        weights = {"desirable_weight": 2.0, "undesirable_weight": 3.0}
        assert value("apo_unpaired", scores, **weights) == value("kto", scores, **weights)
        assert losses.build("apo_unpaired", {}).needs() == Needs(reference=True)

    def test_the_two_halves_of_a_pair_are_apo_zero(self) -> None:
        halves = value("apo_unpaired", self.scores(S_W, desirable=True))
        halves += value("apo_unpaired", self.scores(S_L, desirable=False))
        assert halves == pytest.approx(value("apo", pair()), abs=1e-12)


OF_SUMS = ("dpop", "r_dpo", "cal_dpo", "apo", "nca", "exo", "discopop", "sppo", "f_dpo")


@pytest.mark.parametrize("name", OF_SUMS)
def test_rewards_are_beta_times_unweighted_log_ratios(name, worked) -> None:
    loss, scores = losses.build(name, {}), worked.pair((torch.full((1, 3), 5.0), torch.zeros(1, 4)))
    assert loss.needs() == Needs(reference=True)
    sums = [side.logratio_BT.sum().item() for side in (scores.chosen, scores.rejected)]
    assert [r.item() for r in loss.rewards(scores)] == pytest.approx([loss.beta * x for x in sums], abs=1e-12)
    moving = loss.rewards(pair())
    assert not any(reward_B.requires_grad for reward_B in moving)


@pytest.mark.parametrize("name", ["alphapo", "repo"])
def test_rewards_of_means_need_no_reference(name, worked) -> None:
    """Mean log-probs m, unweighted; AlphaPO's are beta (1 - e^(-m / 4)) x 4."""
    loss, scores = losses.build(name, {}), worked.pair((torch.full((1, 3), 5.0), torch.zeros(1, 4)))
    assert loss.needs() == Needs()
    means = [side.policy_BT.mean().item() for side in (scores.chosen, scores.rejected)]
    expected = [2 * (1 - math.exp(-m / 4)) * 4 for m in means] if name == "alphapo" else means
    assert [r.item() for r in loss.rewards(scores)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", [*OF_SUMS, "alphapo", "repo"])
def test_token_weights_enter(name, worked) -> None:
    """Weights that double every token of the chosen response are log-ratios, or log-probs, twice as large."""
    scores, loss = worked.pair(), losses.build(name, {})
    doubled = replace(scores.chosen, weights_BT=2 * scores.chosen.weights_BT)
    both = {"policy_BT": 2 * scores.chosen.policy_BT, "reference_BT": 2 * scores.chosen.reference_BT}
    got_B = loss.per_example(replace(scores, chosen=doubled))
    expected_B = loss.per_example(replace(scores, chosen=replace(scores.chosen, **both)))
    assert got_B.item() == pytest.approx(expected_B.item(), abs=1e-12)
    assert got_B.item() != loss.per_example(scores).item()


GREATER_0, FROM_0 = "Input should be greater than 0", "Input should be greater than or equal to 0"


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        *[(name, {"beta": 0.0}, GREATER_0) for name in (*OF_SUMS, "alphapo", "apo_unpaired")],
        ("dpop", {"drop_penalty": -1.0}, FROM_0),
        ("r_dpo", {"alpha": -0.1}, FROM_0),
        ("alphapo", {"gamma_beta_ratio": -0.1}, FROM_0),
        ("alphapo", {"alpha": math.inf}, "Input should be a finite number"),
        ("repo", {"gamma": -0.1}, FROM_0),
        ("repo", {"beta": 2.0}, "Extra inputs are not permitted"),
        ("apo", {"form": "one"}, "Input should be 'zero' or 'down'"),
        ("apo_unpaired", {"desirable_weight": 0.0}, GREATER_0),
        ("exo", {"label_smoothing": 0.0}, GREATER_0),
        ("exo", {"label_smoothing": 0.5}, "Input should be less than 0.5"),
        ("discopop", {"tau": 0.0}, GREATER_0),
        ("discopop", {"tau": 1.5}, "Input should be less than or equal to 1"),
        ("f_dpo", {"divergence": "kl"}, "Input should be 'reverse_kl', 'forward_kl', 'js' or 'alpha'"),
    ],
)
def test_what_has_no_meaning_is_refused(name, parameters, message) -> None:
    with pytest.raises(ValidationError) as caught:
        losses.build(name, parameters)
    assert [(e["loc"], e["msg"]) for e in caught.value.errors()] == [(tuple(parameters), message)]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": 0.3}, "alpha belongs to divergence alpha; js has none, got 0.3"),
        ({"divergence": "alpha", "alpha": 1.0}, "Input should be less than 1"),
        ({"divergence": "alpha", "alpha": 0.0}, GREATER_0),
    ],
)
def test_alpha_of_f_dpo_out_of_place(parameters, message) -> None:
    with pytest.raises(ValidationError) as caught:
        losses.build("f_dpo", parameters)
    assert [e["msg"] for e in caught.value.errors()] == [message]
