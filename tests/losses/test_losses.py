"""Each loss's own promises; their numbers are in tests/test_worked_examples.py."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from alignkit.asks.needs import Needs
from alignkit.losses import losses
from alignkit.losses.dpo import DPO
from alignkit.losses.sft import SFT
from alignkit.losses.tdpo import TDPO
from alignkit.losses.triplet import Triplet
from alignkit.models.statistics import ForwardKL
from alignkit.rollouts.sample_prompt import SamplePrompt
from alignkit.scores import PairScores, ResponseScores, TokenScores
from alignkit.weighting.hybrid import Hybrid

KL = ForwardKL()


def leaf(scores: TokenScores) -> TokenScores:
    return replace(scores, policy_BT=scores.policy_BT.clone().requires_grad_())


def still(scores: TokenScores) -> TokenScores:
    """The policy equal to the reference."""
    return replace(scores, policy_BT=scores.reference_BT.clone().requires_grad_(), statistics={})


class TestDPO:
    def test_both_names_are_one_class(self) -> None:
        assert losses.get("dpo") is losses.get("weighted_dpo") is DPO
        assert losses.build("dpo", {}).needs() == Needs(reference=True)

    def test_starts_at_ln_2(self, worked) -> None:
        pair = PairScores(still(worked.response("chosen")), still(worked.response("rejected")))
        assert DPO(beta=0.7).per_example(pair).item() == pytest.approx(math.log(2), abs=1e-12)
        assert [r.item() for r in DPO().rewards(pair)] == [0.0, 0.0]

    def test_rewards_are_unweighted_and_detached(self, worked) -> None:
        """The headline accuracy must not depend on the weighting: weights of 5 change nothing."""
        pair = worked.pair((torch.full((1, 3), 5.0), torch.full((1, 4), 5.0)))
        moving = PairScores(leaf(pair.chosen), leaf(pair.rejected))
        rewards = DPO().rewards(moving)
        assert [r.item() for r in rewards] == [r.item() for r in DPO().rewards(worked.pair())]
        assert not any(r.requires_grad for r in rewards)

    def test_gradient_by_token_is_the_weight_times_that_of_the_margin(self, worked) -> None:
        """Chosen tokens get -beta s(-beta m) w_t; the weights themselves are constants (Eq. 33)."""
        weights = tuple(Hybrid().weights(worked.span(side)) for side in ("chosen", "rejected"))
        pair = worked.pair(weights)
        moving = PairScores(leaf(pair.chosen), leaf(pair.rejected))
        margin = (pair.chosen.logratio_B - pair.rejected.logratio_B).item()
        (got_BT,) = torch.autograd.grad(DPO().per_example(moving).sum(), moving.chosen.policy_BT)
        factor = -0.1 / (1 + math.exp(0.1 * margin))
        torch.testing.assert_close(got_BT, factor * weights[0])


class TestSFT:
    def test_weights_count(self, worked) -> None:
        """-(ln .5 x 3 + ln .4 x 0 + ln .4 x 0) = 2.079442."""
        scores = worked.response("chosen", torch.tensor([[3.0, 0.0, 0.0]]))
        assert SFT().per_example(ResponseScores(scores)).item() == pytest.approx(2.079442, abs=1e-6)

    def test_is_per_token_and_needs_nothing(self) -> None:
        assert SFT.unit == "tokens" and SFT().needs() == Needs()


class TestTDPO:
    def test_version_2_without_kl_is_dpo(self, worked) -> None:
        assert torch.equal(TDPO(alpha=0.0).per_example(worked.pair()), DPO().per_example(worked.pair()))

    @pytest.mark.parametrize(("version", "flows"), [(1, True), (2, False)])
    def test_kl_of_the_chosen_flows_in_version_1_only(self, worked, version, flows) -> None:
        pair = worked.pair()
        kls = [s.statistics[KL].clone().requires_grad_() for s in (pair.chosen, pair.rejected)]
        sides = zip((pair.chosen, pair.rejected), kls, strict=True)
        moving = PairScores(*(replace(s, statistics={KL: kl}) for s, kl in sides))
        of_chosen, of_rejected = torch.autograd.grad(
            TDPO(version=version).per_example(moving).sum(), kls, allow_unused=True
        )
        assert (of_chosen is not None) is flows
        assert (of_rejected > 0).all()  # leaving the reference on the rejected response costs

    def test_kl_is_not_weighted(self, worked) -> None:
        """With zero token weights only the KL margin is left: -log s(-0.1 x 0.5 x (0.163897 - 0.090031))."""
        pair = worked.pair((torch.zeros(1, 3), torch.zeros(1, 4)))
        expected = math.log1p(math.exp(0.1 * 0.5 * (0.163897 - 0.090031)))
        assert TDPO().per_example(pair).item() == pytest.approx(expected, abs=1e-6)

    def test_needs_the_whole_distribution(self) -> None:
        assert TDPO().needs() == Needs(reference=True, statistics=frozenset({KL}))

    def test_alpha_belongs_to_version_2(self) -> None:
        with pytest.raises(ValidationError) as caught:
            TDPO(version=1, alpha=0.5)
        assert [e["msg"] for e in caught.value.errors()] == [
            "alpha is the KL weight of version 2; version 1 has none, got 0.5"
        ]


class TestTriplet:
    def test_needs_the_reference_and_its_anchor(self) -> None:
        assert Triplet().needs() == Needs(reference=True, anchor=SamplePrompt(name="sample_prompt"))

    @pytest.mark.parametrize("margin", [0.0, 0.01])
    def test_starts_at_the_margin_without_gradient(self, worked, margin) -> None:
        trio = [still(s) for s in (worked.response("chosen"), worked.response("rejected"), worked.anchor(1))]
        value = Triplet(margin=margin).per_example(PairScores(*trio))
        assert value.item() == margin
        assert all((g == 0).all() for g in torch.autograd.grad(value.sum(), [s.policy_BT for s in trio]))

    def test_margin_0_does_not_switch_it_off(self, worked) -> None:
        """Anchor A2, overlap: 0.802016 - 0.084313 = 0.717703."""
        assert Triplet(margin=0.0).per_example(worked.pair(anchor=2)).item() == pytest.approx(0.717703, abs=2e-6)

    def test_a_negative_margin_is_refused(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Triplet(margin=-0.01)
        assert [(e["loc"], e["msg"]) for e in caught.value.errors()] == [
            (("margin",), "Input should be greater than or equal to 0")
        ]

    def test_token_weights_do_not_enter(self, worked) -> None:
        weighted = worked.pair((torch.full((1, 3), 5.0), torch.zeros(1, 4)), anchor=2)
        assert torch.equal(Triplet().per_example(weighted), Triplet().per_example(worked.pair(anchor=2)))

    @pytest.mark.parametrize("anchor_grad", [True, False])
    def test_anchor_grad_opens_or_shuts_one_path(self, worked, anchor_grad) -> None:
        trio = [leaf(s) for s in (worked.response("chosen"), worked.response("rejected"), worked.anchor(2))]
        value = Triplet(anchor_grad=anchor_grad).per_example(PairScores(*trio))
        of_chosen, of_rejected, of_anchor = torch.autograd.grad(
            value.sum(), [s.policy_BT for s in trio], allow_unused=True
        )
        assert (of_anchor is not None) is anchor_grad
        torch.testing.assert_close(
            of_chosen, torch.tensor([[0.0, 1.597015, -0.810930]], dtype=torch.float64), atol=1e-6, rtol=0
        )
        torch.testing.assert_close(
            of_rejected, torch.tensor([[-0.364643, 0.364643, 0.0, -0.267063]], dtype=torch.float64), atol=1e-6, rtol=0
        )
