"""Weightings that look values up: TIS-DPO's and cDPO's contrasts, log-probs, data columns, planted tokens."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from alignkit.asks.columns import TokenColumns
from alignkit.asks.needs import Needs
from alignkit.asks.planted import Forks, Planted
from alignkit.contrasts.values import Estimate, LogRatio
from alignkit.errors import RecipeError
from alignkit.models.attribution import Attribution
from alignkit.models.statistics import Entropy, ForwardKL
from alignkit.recipe.load import load_recipe
from alignkit.registry import dump_component
from alignkit.scores import Span
from alignkit.weighting import weightings
from alignkit.weighting.base import TokenWeighting

DESIRABLE, UNDESIRABLE = True, False
RATIO = [0.4, -2.0, 0.4, 3.0]
"""Log-ratios of a response of four tokens; the first and the third tie, the last is EOS."""

PLACES = {"none": [0, 1, 2, 3], "right": [0, 1, 2, 3], "left": [3, 4, 5, 6], "inside": [0, 2, 3, 5]}


def built(name: str, **values) -> TokenWeighting:
    return weightings.build(name, values)


def span_of(values_by_row, desirable=None, mask_BS=None, *, of: TokenWeighting) -> Span:
    """What `of` looks up is `values_by_row`."""
    values_BS = torch.tensor(values_by_row)
    mask_BS = torch.ones_like(values_BS, dtype=torch.bool) if mask_BS is None else torch.as_tensor(mask_BS)
    (wanted,) = of.needs().values
    desirable_B = torch.tensor(desirable or [True] * len(values_BS))
    return Span(mask_BS, desirable_B=desirable_B, values={wanted: values_BS})


def padded(values, kept: list[int], desirable: bool, garbage: float, *, of: TokenWeighting) -> Span:
    """One response at the columns `kept`, its padding full of garbage."""
    row_BS, mask_BS = torch.full((1, max(kept) + 2), garbage), torch.zeros(1, max(kept) + 2, dtype=torch.bool)
    row_BS[0, kept], mask_BS[0, kept] = torch.tensor(values), True
    return span_of(row_BS.tolist(), [desirable], mask_BS, of=of)


def weights_of(weighting: TokenWeighting, values, desirable: bool = True) -> torch.Tensor:
    """[T] of one response."""
    return weighting.weights(span_of([values], [desirable], of=weighting))[0]


def close(got: torch.Tensor, wanted) -> None:
    torch.testing.assert_close(got, torch.tensor(wanted), rtol=0, atol=1e-6)


TRANSFORMS = {
    # Ranks of -2 < 0.4 = 0.4 < 3 are 0, 1.5, 1.5, 3; of their negatives 3, 1.5, 1.5, 0. Weight 0.7 + 0.6 rank / 3.
    "rank": ({"transform": "rank"}, [1.0, 0.7, 1.0, 1.3], [1.0, 1.3, 1.0, 0.7]),
    # 0 to 3 instead: rank itself.
    "rank, scale": ({"transform": "rank", "scale": [0, 3]}, [1.5, 0.0, 1.5, 3.0], [1.5, 3.0, 1.5, 0.0]),
    # The log-ratio is cut to -0.5, 1.5 first and changes sign then: 0.4, -0.5, 0.4, 1.5 as exponents, and negatives.
    "clamp": (
        {"transform": "clamp"},
        [math.exp(0.4), math.exp(-0.5), math.exp(0.4), math.exp(1.5)],
        [math.exp(-0.4), math.exp(0.5), math.exp(-0.4), math.exp(-1.5)],
    ),
    "clamp, limits": (
        {"transform": "clamp", "limits": [-1, 0.25]},
        [math.exp(0.25), math.exp(-1), math.exp(0.25), math.exp(0.25)],
        [math.exp(-0.25), math.exp(1), math.exp(-0.25), math.exp(-0.25)],
    ),
    # Signed first, then cut to -1.5, 1.5: 0.4 is 1.9 / 3 of the way and -0.4 is 1.1 / 3; 0.7 + 0.6 of that.
    "threshold": ({"transform": "threshold"}, [1.08, 0.7, 1.08, 1.3], [0.92, 1.3, 0.92, 0.7]),
    # Cut to -1, 3: 0.4, -1, 0.4, 3 are 0.35, 0, 0.35, 1 of the way; -0.4, 2, -0.4, -3 are 0.15, 0.75, 0.15, 0.
    "threshold, limits and scale": (
        {"transform": "threshold", "limits": [-1, 3], "scale": [1, 2]},
        [1.35, 1.0, 1.35, 2.0],
        [1.15, 1.75, 1.15, 1.0],
    ),
}


class TestTIS:
    @pytest.mark.parametrize("case", TRANSFORMS)
    def test_by_hand_for_chosen_and_rejected(self, case) -> None:
        settings, chosen, rejected = TRANSFORMS[case]
        weighting = built("tis", weigh_last=True, **settings)
        close(weights_of(weighting, RATIO, DESIRABLE), chosen)
        close(weights_of(weighting, RATIO, UNDESIRABLE), rejected)

    @pytest.mark.parametrize("case", TRANSFORMS)
    def test_the_last_token_weighs_nothing_by_default_and_the_others_stay(self, case) -> None:
        settings, chosen, rejected = TRANSFORMS[case]
        close(weights_of(built("tis", **settings), RATIO, DESIRABLE), [*chosen[:3], 0.0])
        close(weights_of(built("tis", **settings), RATIO, UNDESIRABLE), [*rejected[:3], 0.0])

    @pytest.mark.parametrize("weigh_last", [False, True])
    @pytest.mark.parametrize("garbage", [-7.0, 0.4, 7.0])
    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.parametrize("transform", ["rank", "clamp", "threshold"])
    def test_padding_may_lie_anywhere(self, transform, place, garbage, weigh_last) -> None:
        """The last token is the last one of the mask, not the one in the last column."""
        weighting = built("tis", transform=transform, weigh_last=weigh_last)
        _, chosen, _ = TRANSFORMS[transform]
        got_BT = weighting.weights(padded(RATIO, PLACES[place], DESIRABLE, garbage, of=weighting))
        close(got_BT[0, PLACES[place]], chosen if weigh_last else [*chosen[:3], 0.0])
        others = [column for column in range(got_BT.shape[1]) if column not in PLACES[place]]
        assert got_BT[0, others].tolist() == [0.0] * len(others)

    def test_rows_of_different_lengths_and_labels_do_not_see_each_other(self) -> None:
        """Two tokens rank 0 and 1, of which the last is EOS; the rejected row is TRANSFORMS' own."""
        weighting = built("tis")
        mask_BS = [[True] * 4, [True, True, False, False], [True] * 4]
        values = [RATIO, [5.0, -5.0, 9.0, 9.0], RATIO]
        together_BT = weighting.weights(span_of(values, [DESIRABLE, DESIRABLE, UNDESIRABLE], mask_BS, of=weighting))
        close(together_BT, [[1.0, 0.7, 1.0, 0.0], [1.3, 0.0, 0.0, 0.0], [1.0, 1.3, 1.0, 0.0]])
        turned = span_of(values[::-1], [UNDESIRABLE, DESIRABLE, DESIRABLE], mask_BS[::-1], of=weighting)
        assert torch.equal(weighting.weights(turned), together_BT.flip(0))

    def test_a_response_of_one_token(self) -> None:
        """Its rank says nothing, so it gets the middle of 0.5 and 2.5. Being the last token, it has 0, which stays 0 on
        an absolute scale."""
        weighting = built("tis", scale=[0.5, 2.5], weigh_last=True)
        for desirable in (DESIRABLE, UNDESIRABLE):
            close(weights_of(weighting, [3.0], desirable), [1.5])
            assert weights_of(built("tis"), [3.0], desirable).tolist() == [0.0]
        close(weights_of(built("tis", transform="clamp", weigh_last=True), [0.4], UNDESIRABLE), [math.exp(-0.4)])
        close(weights_of(built("tis", transform="threshold", weigh_last=True), [0.0]), [1.0])

    def test_weights_are_kept_on_their_scale_unless_told_otherwise(self) -> None:
        """1, 0.7, 1, 0 sum to 2.7; at mean 1 each is 4 / 2.7 as large, at sum 1 it is divided by 2.7."""
        assert built("tis").rescale == "raw"
        close(weights_of(built("tis", rescale="mean1"), RATIO), [4 / 2.7, 2.8 / 2.7, 4 / 2.7, 0.0])
        close(weights_of(built("tis", rescale="sum1"), RATIO), [1 / 2.7, 0.7 / 2.7, 1 / 2.7, 0.0])

    def test_as_a_part_of_a_mixture(self) -> None:
        """Half importance 1, 0, 0, 3 (shares 1/4, 0, 0, 3/4) and half 1, 0.7, 1, 0 (shares of 2.7), at mean 1: times 4.

        Four times 1/8 + 1/5.4, 0.7/5.4, 1/5.4 and 3/8 is 1.240741, 0.518519, 0.740741, 1.5.
        """
        of = {"name": "tis", "contrast": "prompts"}
        weighting = built("hybrid", mix=0.5, prior=of)
        part = built(**of)
        (wanted,) = part.needs().values
        assert weighting.needs() == Needs(values=frozenset({wanted}), attributions=frozenset({Attribution()}))
        span = Span(
            torch.ones(1, 4, dtype=torch.bool),
            importance={Attribution(): torch.tensor([[1.0, 0.0, 0.0, 3.0]])},
            desirable_B=torch.tensor([True]),
            values={wanted: torch.tensor([RATIO])},
        )
        close(weighting.weights(span), [[1.240741, 0.518519, 0.740741, 1.5]])
        assert weightings.build("hybrid", dump_component(weighting)) == weighting

    def test_needs_the_log_ratio_of_its_contrast_and_nothing_else(self) -> None:
        for contrast in ("dpo", "sft", "prompts"):
            weighting = built("tis", contrast=contrast)
            assert weighting.all_needs() == Needs(values=frozenset({LogRatio(contrast=contrast)}))
        assert built("tis").needs() == built("tis", contrast="dpo", transform="clamp").needs()
        assert built("tis", contrast={"name": "dpo", "beta": 0.3}).needs() != built("tis").needs()


class TestContrastive:
    def test_credit_of_chosen_and_blame_of_rejected_tokens(self) -> None:
        """s_t in a chosen, 1 - s_t in a rejected response (methods.md 10 for the rejected one), as they are."""
        weighting = built("contrastive")
        close(weights_of(weighting, [0.9, 0.05, 0.8, 0.3], DESIRABLE), [0.9, 0.05, 0.8, 0.3])
        close(weights_of(weighting, [0.9, 0.05, 0.8, 0.3], UNDESIRABLE), [0.1, 0.95, 0.2, 0.7])

    def test_padding_of_a_rejected_response_has_no_blame(self) -> None:
        weighting = built("contrastive")
        got_BT = weighting.weights(padded([0.25, 1.0], [1, 3], UNDESIRABLE, 0.0, of=weighting))
        assert got_BT.tolist() == [[0.0, 0.75, 0.0, 0.0, 0.0]]

    def test_needs(self) -> None:
        assert built("contrastive").all_needs() == Needs(values=frozenset({Estimate(contrast="sft", strength=1.0)}))
        weighting = built("contrastive", contrast="prompts", strength=0.5)
        assert weighting.needs() == Needs(values=frozenset({Estimate(contrast="prompts", strength=0.5)}))


class TestSurprisal:
    SPAN = Span(
        torch.tensor([[True, True, True, False]]),
        policy_BS=torch.tensor([[-1.0, -2.0, -5.0, 0.0]]),
        reference_BS=torch.tensor([[-3.0, -0.5, -0.5, 0.0]]),
    )

    def test_of_the_policy(self) -> None:
        """1, 2, 5: mean 8 / 3."""
        close(built("surprisal").weights(self.SPAN), [[0.375, 0.75, 1.875, 0.0]])

    def test_of_the_reference(self) -> None:
        """3, 0.5, 0.5: mean 4 / 3."""
        close(built("surprisal", model="reference").weights(self.SPAN), [[2.25, 0.375, 0.375, 0.0]])

    def test_a_certain_token_weighs_nothing_and_rounding_is_no_weight(self) -> None:
        span = Span(torch.ones(1, 3, dtype=torch.bool), policy_BS=torch.tensor([[1e-7, -0.0, -2.0]]))
        assert built("surprisal", rescale="raw").weights(span).tolist() == [[0.0, 0.0, 2.0]]

    def test_needs(self) -> None:
        assert built("surprisal").all_needs() == Needs()
        assert built("surprisal", model="reference").all_needs() == Needs(reference=True)


class TestStatistic:
    SPAN = Span(
        torch.tensor([[True, True, True, False]]),
        statistics={
            Entropy(): torch.tensor([[0.5, 2.0, 0.0, 0.0]]),
            ForwardKL(): torch.tensor([[-1e-9, 1.0, 3.0, 0.0]]),
        },
    )

    def test_by_hand(self) -> None:
        """0.5, 2, 0: mean 2.5 / 3."""
        close(built("statistic").weights(self.SPAN), [[0.6, 2.4, 0.0, 0.0]])

    def test_of_the_reference_too(self) -> None:
        """0, 1, 3: mean 4 / 3; a KL below 0 is rounding."""
        weighting = built("statistic", statistic="forward_kl")
        close(weighting.weights(self.SPAN), [[0.0, 0.75, 2.25, 0.0]])
        assert weighting.all_needs() == Needs(reference=True, statistics=frozenset({ForwardKL()}))

    def test_one_that_can_be_negative_is_refused(self) -> None:
        message = "statistic 'collision' can be negative, and a weight cannot; use entropy, forward_kl, reverse_kl"
        with pytest.raises(ValidationError, match=message):
            built("statistic", statistic="collision")


class TestSelf:
    def span(self, ratios: list[float]) -> Span:
        reference_BS = torch.tensor([[-1.0, -4.0, -2.0]])
        mask_BS = torch.ones(1, 3, dtype=torch.bool)
        return Span(mask_BS, policy_BS=reference_BS + torch.tensor([ratios]), reference_BS=reference_BS)

    def test_by_hand(self) -> None:
        """|0.5|, |-1|, |0| and a floor of 0.25 each: 0.75, 1.25, 0.25, whose mean is 0.75."""
        close(built("self", floor=0.25).weights(self.span([0.5, -1.0, 0.0])), [[1.0, 5 / 3, 1 / 3]])

    def test_before_training_all_tokens_weigh_the_same(self) -> None:
        assert built("self").weights(self.span([0.0, 0.0, 0.0])).tolist() == [[1.0, 1.0, 1.0]]

    def test_rounding_far_below_the_floor_is_not_taken_for_weights(self) -> None:
        """1e-6 beside a floor of 0.01 moves a weight by 1e-4 at most; with a floor of 1e-9 it would be all there is."""
        noise = self.span([1e-6, 0.0, -1e-6])
        torch.testing.assert_close(built("self").weights(noise), torch.ones(1, 3), rtol=0, atol=1.5e-4)
        assert built("self", floor=1e-9).weights(noise)[0, 1].item() < 0.01

    def test_needs(self) -> None:
        assert built("self").all_needs() == Needs(reference=True)


class TestColumn:
    def test_by_hand(self) -> None:
        """3, 1, 0, the last one EOS: mean 4 / 3."""
        close(weights_of(built("column"), [3.0, 1.0, 0.0]), [2.25, 0.75, 0.0])
        close(weights_of(built("column", rescale="raw"), [3.0, 1.0, 0.0], UNDESIRABLE), [3.0, 1.0, 0.0])

    def test_needs(self) -> None:
        assert built("column").all_needs() == Needs(values=frozenset({TokenColumns(suffix="_weight")}))
        assert built("column", suffix=".mark").needs() == Needs(values=frozenset({TokenColumns(suffix=".mark")}))


class TestOracle:
    def test_only_the_planted_tokens_by_default(self) -> None:
        """Two of five: 5 / 2 each."""
        close(weights_of(built("oracle"), [0.0, 1.0, 1.0, 0.0, 0.0]), [0.0, 2.5, 2.5, 0.0, 0.0])

    def test_elsewhere(self) -> None:
        """1 on two tokens and 0.2 on three sum to 2.6."""
        got_T = weights_of(built("oracle", elsewhere=0.2), [0.0, 1.0, 1.0, 0.0, 0.0])
        close(got_T, [1 / 2.6, 5 / 2.6, 5 / 2.6, 1 / 2.6, 1 / 2.6])

    def test_padding_gets_none_of_elsewhere(self) -> None:
        weighting = built("oracle", elsewhere=0.5, rescale="raw")
        got_BT = weighting.weights(padded([0.0, 1.0], [0, 2], DESIRABLE, 1.0, of=weighting))
        assert got_BT.tolist() == [[0.5, 0.0, 1.0, 0.0]]

    def test_needs(self) -> None:
        assert built("oracle").all_needs() == Needs(values=frozenset({Planted()}))
        assert built("oracle", forks=True).all_needs() == Needs(values=frozenset({Forks()}))

    def test_forks_are_weighed_as_planted_tokens_are(self) -> None:
        close(weights_of(built("oracle", forks=True), [0.0, 1.0, 0.0, 0.0]), [0.0, 4.0, 0.0, 0.0])


RECIPE = """\
model: world
data: {train: "builtin:world"}
losses: [dpo]
trainer: preference
"""

SCALE = "weighting: scale: expected [low, high] with 0 <= low < high, got "
LIMITS = "weighting: limits: expected [low, high] with low < high, got "
LINES = {
    "weighting: {name: tis, limits: [0, 1]}": "weighting: 'limits' has no use with transform 'rank'; leave it out",
    "weighting: {name: tis, transform: clamp, scale: [0, 1]}": (
        "weighting: 'scale' has no use with transform 'clamp'; leave it out"
    ),
    "weighting: {name: tis, scale: [2, 1]}": f"{SCALE}[2.0, 1.0]",
    "weighting: {name: tis, scale: [-1, 1]}": f"{SCALE}[-1.0, 1.0]",
    "weighting: {name: tis, transform: clamp, limits: [1.5, -0.5]}": f"{LIMITS}[1.5, -0.5]",
    "weighting: {name: tis, transform: threshold, limits: [1, 1]}": f"{LIMITS}[1.0, 1.0]",
    "weighting: {name: tis, limits: [0, .inf], transform: clamp}": (
        "weighting.limits.1: expected a finite number, got inf (a number)"
    ),
    "weighting: {name: tis, contrast: prompt}": (
        "weighting.contrast: unknown contrast 'prompt'; did you mean 'prompts'? known: dpo, prompts, sft"
    ),
    "weighting: {name: tis, contrast: {name: sft, beta: 0.1}}": (
        "weighting.contrast.beta: belongs to 'dpo'; contrast is 'sft'"
    ),
    "weighting: {name: tis, contrast: {name: prompts, steps: 5}}": (
        "weighting.contrast.steps: belongs to 'dpo' and 'sft'; contrast is 'prompts'"
    ),
    "weighting: {name: column, suffix: ''}": "weighting.suffix: too short, fewest characters: 1",
}


@pytest.mark.parametrize(("line", "message"), LINES.items(), ids=list(LINES))
def test_a_wrong_line_of_a_recipe(tmp_path, monkeypatch, line, message) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(f"{RECIPE}{line}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe("recipe.yaml")
    assert str(caught.value) == f"recipe.yaml:5: {message}"
