"""The pair weightings that look at scores and columns; Uni-DPO's numbers are in tests/test_worked_methods.py."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from alignkit.asks.needs import Needs
from alignkit.models.statistics import Collision
from alignkit.pair_weighting import pair_weightings
from alignkit.pair_weighting.uni_dpo import UniDPO
from alignkit.pair_weighting.wpo import WPO
from alignkit.scores import PairScores, TokenScores


def response(*policy: float, collision: float = 0.0, weight: float = 1.0) -> TokenScores:
    """One response with these log-probs per token, then a column of padding."""
    policy_BT = torch.tensor([[*policy, 0.0]], dtype=torch.float64, requires_grad=True)
    mask_BT = torch.tensor([[True] * len(policy) + [False]])
    statistics = {Collision(): (collision * mask_BT).double()}
    return TokenScores(policy_BT, mask_BT, weight * mask_BT, statistics=statistics)


def pair(chosen: TokenScores, rejected: TokenScores, **columns: float) -> PairScores:
    return PairScores(chosen, rejected, columns={name: torch.tensor([x]).double() for name, x in columns.items()})


def factor(weighting, scores: PairScores) -> float:
    return weighting.per_pair(scores).item()


class TestUniDPO:
    @staticmethod
    def of_margin(margin: float, scores: tuple[float, float] = (8.0, 5.0)) -> PairScores:
        return pair(response(margin), response(0.0, 0.0), score_chosen=scores[0], score_rejected=scores[1])

    def test_needs_its_columns_and_no_reference(self) -> None:
        assert UniDPO().needs() == Needs(columns=frozenset({"score_chosen", "score_rejected"}))
        assert UniDPO(score_chosen="a", score_rejected="b").needs() == Needs(columns=frozenset({"a", "b"}))

    def test_equal_scores_half_learnt_is_a_sixteenth(self) -> None:
        """beta x margin = tau_ref: s(0) x s(0)^3."""
        assert factor(UniDPO(), self.of_margin(0.4, (5.0, 5.0))) == pytest.approx(1 / 16, abs=1e-12)

    def test_swapping_the_scores_is_one_minus_the_quality(self) -> None:
        there, back = (factor(UniDPO(gamma=0.0), self.of_margin(0.0, s)) for s in ((8.0, 5.0), (5.0, 8.0)))
        assert there + back == pytest.approx(1, abs=1e-12) and there > back

    def test_token_weights_do_not_enter(self) -> None:
        plain, weighted = (pair(response(-1.0, -2.0, weight=w), response(-2.0, weight=2 / w)) for w in (1.0, 5.0))
        columns = {"score_chosen": torch.tensor([8.0]), "score_rejected": torch.tensor([5.0])}
        assert factor(UniDPO(), replace(plain, columns=columns)) == factor(UniDPO(), replace(weighted, columns=columns))

    def test_the_gradient_flows_unless_stopped(self) -> None:
        """d/dm of s(tau - beta m)^gamma is -gamma beta s(beta m - tau) times it; learning lowers the weight."""
        scores = self.of_margin(0.3)
        weight_B = UniDPO().per_pair(scores)
        (gradient_BT,) = torch.autograd.grad(weight_B.sum(), scores.chosen.policy_BT)
        learnt = 1 / (1 + math.exp(0.8 - 0.6))
        assert gradient_BT[0, 0].item() == pytest.approx(-3 * 2 * learnt * weight_B.item(), rel=1e-9)
        assert not UniDPO(detach_performance=True).per_pair(scores).requires_grad
        assert factor(UniDPO(detach_performance=True), scores) == weight_B.item()

    def test_matches_finite_differences(self) -> None:
        chosen, rejected = response(-0.5, -1.0, -0.2), response(-0.3)

        def function(chosen_BT: torch.Tensor, rejected_BT: torch.Tensor) -> torch.Tensor:
            moved = [
                replace(s, policy_BT=x_BT.where(s.mask_BT, 0.0))
                for s, x_BT in ((chosen, chosen_BT), (rejected, rejected_BT))
            ]
            return UniDPO().per_pair(pair(*moved, score_chosen=8.0, score_rejected=5.0))

        assert torch.autograd.gradcheck(function, (chosen.policy_BT, rejected.policy_BT))

    @pytest.mark.parametrize("margin", [-1e6, 1e6])
    def test_far_margins_stay_finite(self, margin) -> None:
        scores = self.of_margin(margin)
        weight_B = UniDPO(gamma=0.5).per_pair(scores)
        (gradient_BT,) = torch.autograd.grad(weight_B.sum(), scores.chosen.policy_BT)
        assert torch.isfinite(weight_B).all() and torch.isfinite(gradient_BT).all()


class TestWPO:
    """Chosen tokens at -1 and -2, a rejected one at -0.5."""

    SCORES = pair(response(-1.0, -2.0, collision=-0.7), response(-0.5, collision=-0.3))

    def test_compares_with_a_sampled_token(self) -> None:
        """exp((-1.5 + 0.7) + (-0.5 + 0.3)) = exp(-1)."""
        assert factor(WPO(), self.SCORES) == pytest.approx(math.exp(-1), abs=1e-12)

    def test_without_alignment(self) -> None:
        """exp(-1.5 - 0.5)."""
        assert factor(WPO(alignment="none"), self.SCORES) == pytest.approx(math.exp(-2), abs=1e-12)

    def test_at_most_1(self) -> None:
        assert factor(WPO(), pair(response(-0.1, collision=-2.0), response(-0.1, collision=-2.0))) == 1.0

    def test_is_a_constant_and_ignores_token_weights(self) -> None:
        weighted = pair(response(-1.0, -2.0, collision=-0.7, weight=3.0), response(-0.5, collision=-0.3, weight=0.0))
        assert not WPO().per_pair(weighted).requires_grad
        assert factor(WPO(), weighted) == factor(WPO(), self.SCORES)

    def test_needs_the_squared_probabilities_only_when_aligned(self) -> None:
        assert (WPO().needs(), WPO(alignment="none").needs()) == (Needs(statistics=frozenset({Collision()})), Needs())


class TestColumn:
    def test_is_the_column(self) -> None:
        weighting = pair_weightings.build("column", {"column": "trust"})
        assert weighting.needs() == Needs(columns=frozenset({"trust"}), nonnegative=frozenset({"trust"}))
        assert factor(weighting, pair(response(-1.0), response(-1.0), trust=0.25)) == 0.25

    def test_the_column_must_be_named(self) -> None:
        with pytest.raises(ValidationError) as caught:
            pair_weightings.build("column", {})
        assert [(e["loc"], e["msg"]) for e in caught.value.errors()] == [(("column",), "Field required")]
