"""The promises of the losses beside TI-DPO's own; their numbers are in tests/test_worked_methods.py."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from alignkit.asks.needs import Needs
from alignkit.conformance.scored import each_tensor
from alignkit.losses import losses
from alignkit.losses.calibrated_nll import CalibratedNLL
from alignkit.losses.cdpo import CDPO
from alignkit.losses.cpo import CPO
from alignkit.losses.dpo import DPO
from alignkit.losses.hinge import Hinge
from alignkit.losses.ipo import IPO
from alignkit.losses.nll import NLL
from alignkit.losses.orpo import ORPO
from alignkit.losses.robust import Robust
from alignkit.losses.simpo import SimPO
from alignkit.losses.tis_dpo import TISDPO
from alignkit.losses.tpo import TPO
from alignkit.losses.triplet import Triplet
from alignkit.models.statistics import ForwardKL, ReverseKL
from alignkit.scores import PairScores, TokenScores

REFERENCE_FREE = ("simpo", "orpo", "cpo", "tpo", "tpo_l", "nll")
OF_SUMS = dict.fromkeys(("dpo", "robust", "hinge", "ipo", "tis_dpo", "cdpo"), "logratio_BT")
OF_SUMS |= dict.fromkeys(("cpo", "tpo"), "policy_BT")
OF_MEANS = {"sigmoid_norm": "logratio_BT", "simpo": "policy_BT", "orpo": "policy_BT", "tpo_l": "policy_BT"}


def response(*policy: float, reference: float = -1.0, weights: tuple[float, ...] = ()) -> TokenScores:
    """One response with these log-probs per token."""
    policy_BT = torch.tensor([policy], dtype=torch.float64)
    ones_BT = torch.ones_like(policy_BT)
    weights_BT = torch.tensor([weights], dtype=torch.float64) if weights else ones_BT
    return TokenScores(policy_BT, ones_BT.bool(), weights_BT, reference * ones_BT)


def leaf(scores: TokenScores) -> TokenScores:
    return replace(scores, policy_BT=scores.policy_BT.clone().requires_grad_())


def twice(scores: TokenScores) -> TokenScores:
    """The response written twice: sums double, means stay."""
    return each_tensor(scores, lambda _, value: torch.cat([value, value], dim=-1))


def value(loss, pair: PairScores) -> float:
    return loss.per_example(pair).item()


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        *[(name, {}, math.log(2)) for name in ("sigmoid_norm", "tis_dpo", "cdpo", "robust")],
        ("dpo", {"label_smoothing": 0.3}, math.log(2)),
        ("cdpo", {"form": "per_position"}, math.log(2)),
        ("hinge", {}, 1.0),
        ("ipo", {"beta": 0.1}, 25.0),
        ("ipo", {"beta": 0.1, "length_norm": False}, 25.0),
    ],
)
def test_starts_at(name, parameters, expected, worked) -> None:
    """Policy equal to the reference: ln 2, 1, 1 / (4 beta^2)."""
    still = [replace(s, policy_BT=s.reference_BT) for s in (worked.response("chosen"), worked.response("rejected"))]
    assert value(losses.build(name, parameters), PairScores(*still)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", REFERENCE_FREE)
def test_reference_free_losses_need_none(name) -> None:
    assert not losses.build(name, {}).needs().reference


@pytest.mark.parametrize("name", OF_MEANS)
def test_means_do_not_see_length(name, worked) -> None:
    loss, pair = losses.build(name, {}), worked.pair()
    assert value(loss, PairScores(twice(pair.chosen), pair.rejected)) == pytest.approx(value(loss, pair), abs=1e-12)


@pytest.mark.parametrize("name", OF_SUMS | OF_MEANS)
def test_rewards_are_unweighted_detached_and_scaled(name, worked) -> None:
    """Beta (ORPO: lambda) times the sum or mean of log-ratios or log-probs, whatever the weights."""
    loss = losses.build(name, {})
    pair = worked.pair((torch.full((1, 3), 5.0), torch.zeros(1, 4)))
    rewards = loss.rewards(PairScores(leaf(pair.chosen), leaf(pair.rejected)))
    scale = loss.odds_weight if name == "orpo" else loss.beta
    for reward_B, side in zip(rewards, (pair.chosen, pair.rejected), strict=True):
        total = getattr(side, (OF_SUMS | OF_MEANS)[name]).sum().item() / (
            side.length_B.item() if name in OF_MEANS else 1
        )
        assert reward_B.item() == pytest.approx(scale * total, abs=1e-12)
        assert not reward_B.requires_grad


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("dpo", {"label_smoothing": 0.5}, "Input should be less than 0.5"),
        ("robust", {"label_smoothing": 0.5}, "Input should be less than 0.5"),
        ("cpo", {"label_smoothing": -0.1}, "Input should be greater than or equal to 0"),
        ("cpo", {"alpha": -1.0}, "Input should be greater than or equal to 0"),
        ("simpo", {"gamma_beta_ratio": -0.1}, "Input should be greater than or equal to 0"),
        ("orpo", {"odds_weight": 0.0}, "Input should be greater than 0"),
        ("orpo", {"nll_on": "prompt"}, "Input should be 'response' or 'full'"),
        ("tis_dpo", {"kl_alpha": 0.0}, "Input should be greater than 0"),
        ("cdpo", {"form": "token"}, "Input should be 'sequence' or 'per_position'"),
        ("ipo", {"beta": 0.0}, "Input should be greater than 0"),
    ],
)
def test_what_has_no_meaning_is_refused(name, parameters, message) -> None:
    with pytest.raises(ValidationError) as caught:
        losses.build(name, parameters)
    assert [(e["loc"], e["msg"]) for e in caught.value.errors()] == [(tuple(parameters), message)]


class TestLabelNoise:
    def test_no_smoothing_is_dpo_bit_for_bit(self) -> None:
        """float32, margins from -300 to 300 nats: values and gradients."""
        policy_BT = torch.linspace(-300, 300, 1001)[:, None].requires_grad_()
        mask_BT, zero_BT = torch.ones(1001, 1, dtype=torch.bool), torch.zeros(1001, 1)
        rejected = TokenScores(zero_BT, mask_BT, torch.ones(1001, 1), zero_BT)
        ours_B = DPO(label_smoothing=0.0).per_example(PairScores(replace(rejected, policy_BT=policy_BT), rejected))
        plain_B = -torch.nn.functional.logsigmoid(0.1 * policy_BT.sum(-1))
        assert torch.equal(ours_B, plain_B)
        assert torch.equal(*(torch.autograd.grad(x_B.sum(), policy_BT)[0] for x_B in (ours_B, plain_B)))

    def test_robust_is_unbiased(self, worked) -> None:
        """A share eps of swapped pairs: the expected loss is DPO's on the true labels."""
        pair, swapped = worked.pair(), PairScores(worked.response("rejected"), worked.response("chosen"))
        noisy = 0.8 * value(Robust(label_smoothing=0.2), pair) + 0.2 * value(Robust(label_smoothing=0.2), swapped)
        assert noisy == pytest.approx(value(DPO(), pair), abs=1e-12)

    def test_robust_can_be_negative(self) -> None:
        assert value(Robust(beta=1.0, label_smoothing=0.4), PairScores(response(9.0), response(-9.0))) < -20


class TestFixedMargins:
    def test_hinge_has_no_gradient_beyond_its_margin(self) -> None:
        """Margins of 11 and 9 nats at beta 0.1: 0, and 1 - 0.9."""
        far, near = (PairScores(leaf(response(m)), response(0.0)) for m in (11.0, 9.0))
        assert value(Hinge(), far) == 0 and value(Hinge(), near) == pytest.approx(0.1, abs=1e-12)
        assert torch.autograd.grad(Hinge().per_example(far).sum(), far.chosen.policy_BT)[0].item() == 0

    def test_ipo_pulls_back_from_beyond(self) -> None:
        """1 / (2 x 0.25) = 2 nats: at 3 the loss is 1 and its gradient 2, at 2 both are 0."""
        for margin, expected in ((2.0, (0.0, 0.0)), (3.0, (1.0, 2.0))):
            pair = PairScores(leaf(response(margin)), response(0.0))
            loss_B = IPO(beta=0.25).per_example(pair)
            gradient = torch.autograd.grad(loss_B.sum(), pair.chosen.policy_BT)[0]
            assert (loss_B.item(), gradient.item()) == expected

    def test_simpo_margin_moves_the_middle(self) -> None:
        """A mean margin of exactly gamma / beta gives ln 2."""
        pair = PairScores(response(-1.0, -2.0), response(-2.0))
        assert value(SimPO(gamma_beta_ratio=0.5), pair) == pytest.approx(math.log(2), abs=1e-12)


class TestORPO:
    @pytest.mark.parametrize(
        ("mean", "log_odds"),
        [(-1e-10, 23.0258509299), (-1e-4, 9.2102903720), (-math.log(2), 0.0), (-1.0, -0.5413248546), (-700.0, -700.0)],
    )
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_log_odds_near_and_far(self, mean, log_odds, dtype) -> None:
        """Against even odds, log(p / (1 - p)) = -log(exp(-m) - 1); float32 ends at its rounding, 15.94."""
        if dtype is torch.float32:
            log_odds = min(log_odds, 15.942385)
        sides = [torch.tensor([[m]], dtype=dtype) for m in (mean, -math.log(2))]
        pair = PairScores(*(TokenScores(s_BT, s_BT < 0, torch.ones_like(s_BT)) for s_BT in sides))
        expected = math.log1p(math.exp(-log_odds)) if log_odds > -600 else -log_odds
        assert value(ORPO(odds_weight=1.0), pair) == pytest.approx(expected, rel=1e-5, abs=1e-9)

    @pytest.mark.parametrize("policy", [0.0, -1e-30, -1e-8, -1e4])
    def test_certainty_has_a_finite_value_and_gradient(self, policy) -> None:
        for sides in ((policy, -1.0), (-1.0, policy), (policy, policy)):
            leaves = [torch.tensor([[p]], requires_grad=True) for p in sides]
            mask_BT = torch.ones(1, 1, dtype=torch.bool)
            pair = PairScores(*(TokenScores(p, mask_BT, torch.ones(1, 1)) for p in leaves))
            loss_B = ORPO().per_example(pair)
            assert torch.isfinite(loss_B).all()
            assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss_B.sum(), leaves))

    def test_prompt_counts_in_full_only(self) -> None:
        """Weights 0.5 and 1.5 on -1 and -2 give 3.5, of the chosen tokens; the prompt's -3 makes 6.5, of all tokens."""
        prompt = {"prompt_BP": torch.tensor([[0.0, -3.0]]), "prompt_mask_BP": torch.tensor([[False, True]])}
        pair = PairScores(replace(response(-1.0, -2.0, weights=(0.5, 1.5)), **prompt), response(-1.0))
        found = [(nll_B.item(), unit) for nll_B, unit in (ORPO(nll_on=on).nll(pair) for on in ("response", "full"))]
        assert found == [(3.5, "tokens"), (6.5, "sequence_tokens")]
        assert ORPO().needs() == Needs() and ORPO(nll_on="full").needs() == Needs(prompt=True)


class TestLikelihoodTerms:
    def test_tpo_on_the_chosen_response_is_cpo(self, worked) -> None:
        pair = replace(worked.pair(), gold_response=worked.response("chosen"))
        tpo, cpo = TPO(beta=0.1), CPO()
        assert torch.equal(tpo.per_example(pair), cpo.per_example(pair))
        assert torch.equal(tpo.nll(pair)[0], cpo.nll(pair)[0]) and tpo.nll(pair)[1] == "gold_tokens"

    @pytest.mark.parametrize("name", ["cpo", "tpo", "tpo_l"])
    def test_alpha_0_has_none(self, name, worked) -> None:
        pair = replace(worked.pair(), gold_response=worked.response("chosen"))
        assert losses.build(name, {"alpha": 0.0}).nll(pair) is None
        assert losses.build(name, {"alpha": 0.5}).nll(pair)[0].item() == pytest.approx(0.5 * 2.525729, abs=1e-6)

    def test_nll_is_weighted_and_per_token(self) -> None:
        pair = PairScores(response(-1.0, -2.0, weights=(0.5, 1.5)), response(-1.0))
        assert value(NLL(), pair) == 3.5 and NLL.unit == "tokens" and NLL().needs() == Needs()

    def test_what_pairs_weigh(self) -> None:
        """Uni-DPO's likelihood, the triplet and AOT stand outside of the pair weighting unless asked in."""
        fields = {name: cls.model_fields for name, cls in losses.classes().items()}
        outside = {name for name, of in fields.items() if "pair_weighted" in of and not of["pair_weighted"].default}
        assert outside == {"aot", "calibrated_nll", "triplet"}
        assert Triplet(pair_weighted=True).pair_weighted


class TestCalibratedNLL:
    """Chosen tokens at -1 and -3 (mean -2) under a reference of -1.9 per token; the score is 3.2."""

    def pair(self, score: float = 3.2, reference: float = -1.9, **changes) -> PairScores:
        chosen = response(-1.0, -3.0, reference=reference, **changes)
        return PairScores(chosen, response(-1.0), columns={"score_chosen": torch.tensor([score])})

    def test_counts_good_responses_that_have_lost(self) -> None:
        assert value(CalibratedNLL(), self.pair()) == 2.0

    @pytest.mark.parametrize("changes", [{"score": 3.1}, {"reference": -2.0}, {"reference": -2.1}])
    def test_others_count_nothing(self, changes) -> None:
        """Too low a score; a tie; likelier than under the reference."""
        assert value(CalibratedNLL(), self.pair(**changes)) == 0.0

    def test_weights_enter_the_value_and_not_the_choice(self) -> None:
        """With weights 2 and 0 the weighted mean is -1, above the reference; the plain mean decides: 1."""
        assert value(CalibratedNLL(), self.pair(weights=(2.0, 0.0))) == 1.0

    def test_names_its_column(self) -> None:
        assert CalibratedNLL(score_chosen="q").needs() == Needs(reference=True, columns=frozenset({"q"}))


class TestTokenLevel:
    def test_without_weights_and_kl_they_are_dpo(self, worked) -> None:
        pair = worked.pair()
        expected_B = DPO().per_example(pair)
        assert torch.equal(TISDPO().per_example(pair), expected_B) and torch.equal(CDPO().per_example(pair), expected_B)

    def test_tis_kl_costs_on_the_chosen_response(self, worked) -> None:
        """The other sign than TDPO's: leaving the reference on the chosen response lowers the margin."""
        pair, kl = worked.pair(), ReverseKL()
        leaves = [s.statistics[ForwardKL()].clone().requires_grad_() for s in (pair.chosen, pair.rejected)]
        sides = [
            replace(s, statistics={kl: leaf}) for s, leaf in zip((pair.chosen, pair.rejected), leaves, strict=True)
        ]
        loss_B = TISDPO(kl_alpha=0.5).per_example(PairScores(*sides))
        of_chosen, of_rejected = torch.autograd.grad(loss_B.sum(), leaves)
        assert (of_chosen > 0).all() and (of_rejected < 0).all()

    def test_tis_kl_asks_for_the_distribution(self) -> None:
        assert TISDPO().needs() == Needs(reference=True)
        assert TISDPO(kl_alpha=0.5).needs() == Needs(reference=True, statistics=frozenset({ReverseKL()}))

    @pytest.mark.parametrize("form", ["sequence", "per_position"])
    def test_cdpo_weighs_the_rejected_response_only(self, form, worked) -> None:
        plain, weighted = worked.pair(), worked.pair((torch.full((1, 3), 5.0), torch.ones(1, 4)))
        assert value(CDPO(form=form), weighted) == value(CDPO(form=form), plain)
        assert value(CDPO(form=form, weigh_chosen=True), weighted) != value(CDPO(form=form), plain)

    def test_cdpo_per_position_by_hand(self) -> None:
        """Log-ratios 1 and 2 against 3 (weight 0.5), beta 1: softplus(0.5) + softplus(-2), halved: 0.550503."""
        pair = PairScores(response(0.0, 1.0), response(2.0, weights=(0.5,)))
        assert value(CDPO(beta=1.0, form="per_position"), pair) == pytest.approx(0.550503, abs=1e-6)
