"""The tokens with the largest values: how many, which of equal ones, of a response or of a whole step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from engine_toy import LENGTHS, llama, move, recipe, rows, scoring
from pydantic import ValidationError

from alignkit.engine.whole_step import decide_step
from alignkit.models.statistics import Entropy
from alignkit.scores import Span
from alignkit.weighting import weightings
from alignkit.weighting.select import quantile
from alignkit.weighting.uniform import Uniform

MANY = rows([*LENGTHS, (3, 2, 6), (1, 5, 2)])
PER_STEP = {"name": "select", "per": "step", "top": 0.3, "of": {"name": "statistic", "statistic": "entropy"}}


def mask(values: list[float], *, desirable: bool = True, **settings) -> list[float]:
    """Of surprisals, which are minus these log-probs."""
    span = Span(
        torch.ones(1, len(values)).bool(),
        policy_BS=-torch.tensor([values]),
        desirable_B=torch.tensor([desirable]),
    )
    return weightings.build("select", {"rescale": "raw", **settings}).weights(span)[0].tolist()


@pytest.mark.parametrize(
    ("top", "cut", "wanted"),
    [
        (0.3, "ceil", [0, 1, 0, 1, 0]),
        (0.3, "floor", [0, 1, 0, 0, 0]),
        (0.1, "floor", [0, 1, 0, 0, 0]),
        (0.2, "ceil", [0, 1, 0, 0, 0]),
        (1.0, "ceil", [1, 1, 1, 1, 1]),
        (0.3, "quantile", [0, 1, 0, 1, 1]),
    ],
)
def test_how_many_are_kept(top, cut, wanted) -> None:
    """5 tokens, two of which tie for the second place: 1.5 tokens are 2 or 1; the 0.7-quantile is 2.0."""
    assert mask([0.0, 3.0, 1.0, 2.0, 2.0], top=top, cut=cut) == wanted


def test_a_share_of_ten_is_a_whole_number() -> None:
    """0.7 * 10 is more than 7 in float64."""
    assert sum(mask([float(n) for n in range(10)], top=0.7)) == 7
    assert sum(mask([float(n) for n in range(10)], top=0.3, cut="floor")) == 3


def test_the_smallest_of_what_should_become_less_likely() -> None:
    values = [0.5, 3.0, 1.0, 2.0]
    assert mask(values, top=0.5, rejected="smallest") == [0, 1, 0, 1]
    assert mask(values, top=0.5, rejected="smallest", desirable=False) == [1, 0, 1, 0]
    assert mask(values, top=0.5, desirable=False) == [0, 1, 0, 1]


def test_all_tokens_are_uniform_weights_bit_for_bit() -> None:
    span = Span(torch.tensor([[True, True, False], [True, True, True]]), policy_BS=-torch.rand(2, 3))
    for cut in ("ceil", "floor", "quantile"):
        selected_BT = weightings.build("select", {"top": 1.0, "cut": cut}).weights(span)
        assert torch.equal(selected_BT, Uniform(name="uniform").weights(span))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.7, 1.0])
def test_quantiles_are_torchs(share) -> None:
    value_BS, mask_BS = torch.rand(4, 9).double(), torch.rand(4, 9) < 0.7
    mask_BS[:, 0] = True
    for values_S, mask_S, got in zip(value_BS, mask_BS, quantile(value_BS, mask_BS, share), strict=True):
        torch.testing.assert_close(got[0], values_S[mask_S].quantile(share))


def kept(of, cut: int, layout: str = "packed") -> list[list[float]]:
    """Weights of each row's responses after the decisions of a step, row by row."""
    found = scoring(of, move(llama()), llama(), layout)
    decide_step(found, MANY, 0, replace(of.sizes(), micro_batch=cut))
    weights = []
    for row in MANY:
        responses = found.score([row], 0).responses
        weights += [one.weights_BT[one.mask_BT].tolist() for one in responses]
    return weights


def test_a_step_has_one_threshold_for_all_its_tokens() -> None:
    """The 0.7-quantile over both responses of all rows, whatever the micro-batches."""
    of = recipe(weighting=PER_STEP | {"rescale": "raw"})
    entropy = Entropy()
    values = [
        one.statistics[entropy][one.mask_BT]
        for row in MANY
        for one in scoring(of, move(llama()), llama()).score([row], weigh=False).responses
    ]
    threshold = torch.cat(values).quantile(0.7)
    wanted = [(value_T >= threshold).float().tolist() for value_T in values]
    assert {0.0, 1.0} == {one for response in wanted for one in response}
    assert all(kept(of, cut, layout) == wanted for cut, layout in ((1, "packed"), (2, "shared"), (8, "separate")))


def test_a_response_without_a_token_has_equal_weights() -> None:
    of = recipe(weighting=PER_STEP | {"top": 0.05})
    weights = kept(of, 4)
    assert any(set(response) == {1.0} and len(response) > 1 for response in weights)
    assert any(0.0 in response for response in weights)


def test_without_a_step_each_response_has_its_own_threshold() -> None:
    of = recipe(weighting=PER_STEP | {"rescale": "raw"})
    found = scoring(of, move(llama()), llama())
    decide_step(found, MANY, 0, of.sizes())
    for one in found.score(MANY).responses:
        for value_T, mask_T, weight_T in zip(one.statistics[Entropy()], one.mask_BT, one.weights_BT, strict=True):
            assert torch.equal(weight_T[mask_T], (value_T[mask_T] >= value_T[mask_T].quantile(0.7)).float())


def test_a_loss_sees_the_weights_of_the_same_step() -> None:
    """Tokens are chosen before beta-DPO looks at weighted margins."""
    of = recipe([{"name": "beta_dpo", "drop": 0.0}], weighting=PER_STEP)
    found = scoring(of, move(llama()), llama())
    decide_step(found, MANY, 0, of.sizes())
    chosen, rejected = found.score(MANY, 0).responses
    mean = (chosen.logratio_B - rejected.logratio_B).mean().item()
    assert found.decisions.state()["whole_step.1.mean"].item() == pytest.approx(0.1 * mean, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per": "step", "cut": "ceil"}, "per: step cuts at a quantile; leave 'cut: ceil' out"),
        (
            {"per": "step", "of": {"name": "select", "per": "step"}},
            "per: step, and 'select' looks at the whole step too; only one of them can",
        ),
    ],
)
def test_what_does_not_go_together(settings, message) -> None:
    with pytest.raises(ValidationError) as caught:
        weightings.build("select", settings)
    assert [error["msg"] for error in caught.value.errors()] == [message]


def test_own_log_ratios_order_tokens_either_way() -> None:
    """Policy over reference 2, 1/2 and 1; sizes |ln 2|, |ln 2| and 0 above the floor."""
    ratio_BS = torch.tensor([[2.0, 0.5, 1.0]]).log()
    span = Span(torch.ones(1, 3).bool(), policy_BS=ratio_BS, reference_BS=torch.zeros(1, 3))
    for moved, wanted in (("up", [2.0, 0.5, 1.0]), ("down", [0.5, 2.0, 1.0])):
        got_BT = weightings.build("self", {"moved": moved, "rescale": "raw"}).weights(span)
        torch.testing.assert_close(got_BT, torch.tensor([wanted]))
