"""What the base class promises for every strategy, beside what the conformance kit checks: span, mask, scale."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from alignkit.errors import NonFiniteError
from alignkit.models.attribution import Attribution
from alignkit.scores import Span
from alignkit.weighting import weightings
from alignkit.weighting.base import TokenWeighting, shares
from alignkit.weighting.gradient import Gradient
from alignkit.weighting.hybrid import Hybrid
from alignkit.weighting.uniform import Uniform

NAMES = (
    *("column", "contrastive", "gradient", "hybrid", "oracle", "prior", "random", "self", "softmax", "surprisal"),
    *("statistic", "tis", "uniform", "entropy", "top_entropy", "transport", "attention"),
    *("diff", "guide", "confidence", "decay", "shared_length", "side", "product", "mix", "select"),
    *("influence", "shuffled"),
)
BUILT_IN = [weightings.build(name, {"rescale": "mean1"}) for name in NAMES]
RESCALES = ("mean1", "sum1", "raw", "max1")


def span_of(importance_BS, mask_BS=None, num_prompt: int = 0, seeds_B: tuple[int, ...] | None = None) -> Span:
    importance_BS = torch.as_tensor(importance_BS, dtype=torch.float32)
    mask_BS = torch.ones_like(importance_BS, dtype=torch.bool) if mask_BS is None else torch.as_tensor(mask_BS)
    seeds_B = tuple(range(len(mask_BS))) if seeds_B is None else seeds_B
    whatever_BS = shares(importance_BS.nan_to_num(), mask_BS)  # for strategies that look at something else
    return Span(
        mask_BS,
        num_prompt,
        {Attribution(): importance_BS},
        seeds_B,
        policy_BS=-whatever_BS,
        reference_BS=torch.zeros_like(whatever_BS),
        desirable_B=torch.ones(len(mask_BS), dtype=torch.bool),
        statistics=dict.fromkeys((s for weighting in BUILT_IN for s in weighting.needs().statistics), whatever_BS),
        readings=dict.fromkeys((r for weighting in BUILT_IN for r in weighting.needs().readings), whatever_BS),
        values=dict.fromkeys((v for weighting in BUILT_IN for v in weighting.needs().values), whatever_BS),
    )


@pytest.fixture(params=BUILT_IN, ids=lambda weighting: weighting.name)
def weighting(request) -> TokenWeighting:
    return request.param


def test_the_list_above_is_all_built_in_weightings() -> None:
    assert {w.name for w in BUILT_IN} <= set(weightings.names())
    assert {n for n in weightings.names() if weightings.owner(n).startswith("alignkit.")} == {w.name for w in BUILT_IN}


@pytest.mark.parametrize("rescale", RESCALES)
def test_padding_may_lie_anywhere(weighting, rescale) -> None:
    """Importances 1 2 5 with padding right, left, on both sides and inside give the same three weights."""
    weighting = weighting.model_copy(update={"rescale": rescale})
    expected = weighting.weights(span_of([[1.0, 2.0, 5.0]], seeds_B=(7,)))
    for kept in ([0, 1, 2], [2, 3, 4], [1, 2, 3], [0, 2, 4]):
        importance_BS, mask_BS = torch.full((1, 5), 9.0), torch.zeros(1, 5, dtype=torch.bool)
        importance_BS[0, kept], mask_BS[0, kept] = torch.tensor([1.0, 2.0, 5.0]), True
        got_BT = weighting.weights(span_of(importance_BS, mask_BS, seeds_B=(7,)))
        torch.testing.assert_close(got_BT[:, kept], expected, rtol=0, atol=3e-7)
        assert got_BT[~mask_BS].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("importance", [0.0, 3.0])
def test_one_token_has_weight_one(weighting, importance) -> None:
    assert weighting.weights(span_of([[importance]])).tolist() == [[1.0]]


def test_zero_importances_leave_equal_weights_or_the_prior() -> None:
    """Nothing to tell tokens apart: the gradient alone falls back to 1; the hybrid to its prior, on any scale.

    The Gaussian over 3 tokens is 0.411112, 1, 0.411112; its sum 1.822224, so the middle one's share is 0.548780.
    """
    silent = span_of([[0.0, 0.0, 0.0]])
    assert Gradient(name="gradient").weights(silent).tolist() == [[1.0, 1.0, 1.0]]
    torch.testing.assert_close(Hybrid(rescale="raw").weights(silent)[0, 1].item(), 0.548780, rtol=0, atol=1e-6)
    assert torch.equal(Hybrid().weights(silent), Hybrid(mix=0).weights(silent))


def test_a_row_that_is_only_padding_gets_zeros(weighting) -> None:
    weights_BT = weighting.weights(span_of([[1.0, 2.0], [0.0, 0.0]], [[True, True], [False, False]]))
    assert weights_BT[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("rescale", RESCALES)
def test_the_scale_of_importances_does_not_matter(weighting, rescale) -> None:
    weighting = weighting.model_copy(update={"rescale": rescale})
    importance_BS = torch.tensor([[1.0, 2.0, 5.0], [1.0, 1.0, 1.0]])
    expected = weighting.weights(span_of(importance_BS))
    for factor in (1e-12, 1024.0, 1e12):
        torch.testing.assert_close(weighting.weights(span_of(importance_BS * factor)), expected)


def test_the_prompt_does_not_matter_in_the_response_scope(weighting) -> None:
    """The step hands over the response alone then; its weights are those of a span without a prompt."""
    assert weighting.scope == "response" and not weighting.all_needs().full_sequence
    assert weighting.weights(span_of([[1.0, 2.0, 5.0]])).shape == (1, 3)


def test_full_sequence_shares_with_the_prompt() -> None:
    """Prompt 2 and 4, response 1 and 1: sum 8 over 4 tokens, so mean 1 makes the response 0.5 and 0.5."""
    weighting = Gradient(name="gradient", scope="full_sequence")
    assert weighting.all_needs().full_sequence
    assert weighting.weights(span_of([[2.0, 4.0, 1.0, 1.0]], num_prompt=2)).tolist() == [[0.5, 0.5]]


def test_clip_comes_after_rescale() -> None:
    """1, 1, 10 at mean 1 is 0.25, 0.25, 2.5; clipped to [0.5, 2] it is 0.5, 0.5, 2; padding stays 0."""
    weighting = Gradient(name="gradient", clip=(0.5, 2.0))
    span = span_of([[1.0, 1.0, 10.0, 7.0]], [[True, True, True, False]])
    assert weighting.weights(span).tolist() == [[0.5, 0.5, 2.0, 0.0]]


@pytest.mark.parametrize("clip", [(1.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_clip_must_be_a_range(clip) -> None:
    with pytest.raises(ValidationError) as caught:
        Uniform(clip=clip)
    assert [e["msg"] for e in caught.value.errors()] == [f"expected [low, high] with 0 <= low < high, got {list(clip)}"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_a_weight_that_is_no_weight_stops_the_run(bad) -> None:
    class Broken(TokenWeighting):
        def raw(self, span):
            return torch.tensor([[1.0, bad]])

    with pytest.raises(NonFiniteError) as caught:
        Broken(name="broken").weights(span_of([[1.0, 1.0]]))
    assert str(caught.value) == "weighting 'broken' returned a weight that is negative, NaN or infinite"


def test_garbage_off_the_mask_is_ignored(weighting) -> None:
    mask_BS = [[True, True, False]]
    clean = weighting.weights(span_of([[1.0, 2.0, 0.0]], mask_BS))
    assert torch.equal(weighting.weights(span_of([[1.0, 2.0, float("nan")]], mask_BS)), clean)


def test_zeros_on_an_absolute_scale_stay_zeros() -> None:
    """A share of nothing becomes equal weights; a raw 0 is what the strategy said."""
    nothing = span_of([[0.0, 0.0]])
    assert Gradient(rescale="raw").weights(nothing).tolist() == [[0.0, 0.0]]
    assert Gradient().weights(nothing).tolist() == [[1.0, 1.0]]


def test_another_shape_is_refused() -> None:
    class Sums(TokenWeighting):
        """A weight per response."""

        def raw(self, span):
            return span.length_B.float()

    with pytest.raises(NonFiniteError) as caught:
        Sums(name="sums").weights(span_of([[1.0, 2.0, 5.0]]))
    assert str(caught.value) == "weighting 'sums' returned weights of shape [1], expected [B, S] = [1, 3]"
