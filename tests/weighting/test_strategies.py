"""Each strategy's own promises; the numbers they share with the paper are in tests/test_worked_examples.py."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from alignkit.asks.needs import Needs
from alignkit.models.attribution import Attribution
from alignkit.registry import dump_component
from alignkit.scores import Span
from alignkit.weighting import weightings
from alignkit.weighting.gradient import Gradient
from alignkit.weighting.hybrid import Hybrid
from alignkit.weighting.prior import Prior
from alignkit.weighting.random import Random
from alignkit.weighting.softmax import Softmax


def span_of(*lengths: int, seeds_B: tuple[int, ...] = ()) -> Span:
    mask_BS = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Span(mask_BS, seeds_B=seeds_B)


def complaint(name: str, **values) -> list[tuple]:
    with pytest.raises(ValidationError) as caught:
        weightings.build(name, values)
    return [(e["loc"], e["msg"]) for e in caught.value.errors()]


class TestPrior:
    def test_is_symmetric_and_highest_in_the_middle(self) -> None:
        weights_BT = Prior().weights(span_of(7, 4))
        torch.testing.assert_close(weights_BT[0], weights_BT[0].flip(0))
        torch.testing.assert_close(weights_BT[1, :4], weights_BT[1, :4].flip(0))
        assert weights_BT[0].argmax() == 3

    def test_normalise_changes_the_raw_scale_only(self) -> None:
        span = span_of(5, 3)
        torch.testing.assert_close(Prior().raw(span).sum(-1), torch.ones(2))
        assert Prior(normalise=False).raw(span).amax(-1).tolist() == [1.0, 1.0]
        torch.testing.assert_close(Prior(normalise=False).weights(span), Prior().weights(span))

    def test_needs_nothing(self) -> None:
        assert Prior().all_needs() == Needs()


class TestGradient:
    def test_asks_for_the_attribution_it_reads(self) -> None:
        weighting = Gradient(target="response_nll", norm="grad_x_input", model="reference")
        attribution = Attribution("response_nll", "predict_last", "grad_x_input", "reference")
        assert weighting.needs() == Needs(attributions=frozenset({attribution}))
        importance = {Attribution(): torch.ones(1, 2), attribution: torch.tensor([[1.0, 3.0]])}
        assert weighting.raw(Span(torch.ones(1, 2, dtype=torch.bool), 0, importance)).tolist() == [[0.25, 0.75]]

    @pytest.mark.parametrize("target", ["gold_logit", "response_nll"])
    def test_last_token_has_only_one_target(self, target) -> None:
        assert complaint("gradient", target=target, position="last_token") == [
            (
                (),
                "position 'last_token' goes with target 'max_logit' only: nothing follows the last token that "
                f"'{target}' could read; use position 'predict_last'",
            )
        ]


class TestHybrid:
    def test_mix_is_the_gradients_share_of_the_total_weight(self) -> None:
        """All importance on token 0 of 256: its weight is 0.7 x 256 plus a prior that is tiny there (0.0003 x 256)."""
        importance_BS = torch.zeros(1, 256)
        importance_BS[0, 0] = 5.0
        span = Span(torch.ones(1, 256, dtype=torch.bool), 0, {Attribution(): importance_BS})
        prior_BT = Prior().weights(span)
        assert Hybrid().weights(span)[0, 0].item() == pytest.approx(0.7 * 256 + 0.3 * prior_BT[0, 0].item())

    def test_a_part_on_another_scale_is_brought_to_sum_one(self) -> None:
        """Half importance (1/4, 3/4), half uniform (1/2, 1/2): 0.375, 0.625, at mean 1 0.75 and 1.25."""
        weighting = weightings.build("hybrid", {"mix": 0.5, "prior": {"name": "uniform"}})
        span = Span(torch.ones(1, 2, dtype=torch.bool), 0, {Attribution(): torch.tensor([[1.0, 3.0]])})
        assert weighting.weights(span).tolist() == [[0.75, 1.25]]

    def test_a_part_without_share_is_not_asked(self) -> None:
        assert Hybrid(mix=0).needs() == Needs()
        assert Hybrid(mix=0).weights(span_of(3)).tolist() == Prior().weights(span_of(3)).tolist()
        of_reference = Gradient(name="gradient", model="reference")
        assert Hybrid(mix=1, prior=Softmax(name="softmax", of=of_reference)).needs() == Gradient().needs()
        assert Hybrid(prior=Softmax(name="softmax", of=of_reference)).needs().attributions == {
            Attribution(),
            of_reference.attribution,
        }

    @pytest.mark.parametrize("setting", [{"rescale": "mean1"}, {"scope": "full_sequence"}, {"clip": [0.2, 5]}])
    @pytest.mark.parametrize(("name", "slot", "part"), [("hybrid", "prior", "prior"), ("softmax", "of", "random")])
    def test_a_part_may_not_set_the_final_scale(self, name, slot, part, setting) -> None:
        message = f"'{next(iter(setting))}' belongs to the outer weighting; set it there and take it from '{part}'"
        assert complaint(name, **{slot: {"name": part, **setting}}) == [((slot,), message)]

    @pytest.mark.parametrize("name", ["hybrid", "softmax"])
    def test_what_is_dumped_builds_the_same_again(self, name) -> None:
        weighting = weightings.build(name, {"rescale": "sum1", "scope": "full_sequence"})
        assert weightings.build(name, dump_component(weighting)) == weighting


class TestRandom:
    def test_draws_belong_to_the_seed(self) -> None:
        first_BT = Random(rescale="raw").weights(span_of(3, 5, seeds_B=(11, 12)))
        again_BT = Random(rescale="raw").weights(span_of(5, 3, seeds_B=(12, 11)))
        assert torch.equal(first_BT[1], again_BT[0]) and torch.equal(first_BT[0, :3], again_BT[1, :3])
        assert not torch.equal(first_BT[0, :3], Random(rescale="raw").weights(span_of(3, seeds_B=(13,)))[0])

    def test_draws_are_uniform_on_the_unit_interval(self) -> None:
        """20,000 draws: mean 1/2 and variance 1/12, each within five standard errors (0.010 and 0.0026)."""
        draws = Random(rescale="raw").weights(span_of(20_000, seeds_B=(0,)))
        assert draws.mean().item() == pytest.approx(0.5, abs=0.010)
        assert draws.var().item() == pytest.approx(1 / 12, abs=0.0026)
        assert draws.min() >= 0 and draws.max() < 1

    def test_the_global_generator_is_left_alone(self) -> None:
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        Random().weights(span_of(3, seeds_B=(1,)))
        assert torch.equal(torch.rand(3), expected)


class TestSoftmax:
    def test_equal_values_give_equal_weights(self) -> None:
        span = Span(torch.ones(1, 7, dtype=torch.bool), 0, {Attribution(): torch.full((1, 7), 0.3)})
        torch.testing.assert_close(Softmax().weights(span), torch.ones(1, 7))

    def test_temperature_flattens_and_sharpens(self) -> None:
        """Values 0, 2: z = -1, 1. Temperature 1/2 gives odds e^4, temperature 2 gives e."""
        span = Span(torch.ones(1, 2, dtype=torch.bool), 0, {Attribution(): torch.tensor([[0.0, 2.0]])})
        for temperature, log_odds in ((0.5, 4.0), (1.0, 2.0), (2.0, 1.0)):
            low, high = Softmax(temperature=temperature).raw(span)[0].log().tolist()
            assert high - low == pytest.approx(log_odds, rel=1e-5)
