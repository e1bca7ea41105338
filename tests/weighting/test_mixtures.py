"""Products and mixtures of weightings."""

from __future__ import annotations

import pytest
import torch

from alignkit.asks.columns import TokenColumns
from alignkit.asks.needs import Needs
from alignkit.errors import NonFiniteError, RecipeError
from alignkit.models.attribution import Attribution
from alignkit.models.statistics import Entropy
from alignkit.recipe.load import load_recipe
from alignkit.registry import dump_component
from alignkit.scores import Span
from alignkit.weighting import weightings
from alignkit.weighting.base import TokenWeighting

A, B = ({"name": "column", "suffix": suffix} for suffix in ("_a", "_b"))


def built(name: str, **values) -> TokenWeighting:
    return weightings.build(name, values)


def span(a: list[float], b: list[float], desirable: bool = True) -> Span:
    known = {TokenColumns(suffix=suffix): torch.tensor([numbers]) for suffix, numbers in (("_a", a), ("_b", b))}
    return Span(torch.ones(1, len(a)).bool(), seeds_B=(0,), desirable_B=torch.tensor([desirable]), values=known)


def weights(weighting: TokenWeighting, a: list[float], b: list[float], desirable: bool = True) -> list[float]:
    return weighting.weights(span(a, b, desirable))[0].tolist()


class TestProduct:
    def test_by_hand(self) -> None:
        """1 3 times 2 2, 1 3 again, has mean 2: 0.5 and 1.5; 1 3 times 1 3 is 1 9, of mean 5."""
        assert weights(built("product", of=[A, B]), [1.0, 3.0], [2.0, 2.0]) == pytest.approx([0.5, 1.5])
        assert weights(built("product", of=[A, B]), [1.0, 3.0], [1.0, 3.0]) == pytest.approx([0.2, 1.8])

    def test_powers_sharpen(self) -> None:
        """1 3 squared is 1 9; the root of 1 9 is 1 3."""
        got = weights(built("product", of=[A, B], powers=[2.0, 0.5]), [1.0, 3.0], [9.0, 1.0])
        assert got == pytest.approx([0.5, 1.5])  # 1 * 3 and 9 * 1

    def test_a_power_of_zero_is_no_part(self) -> None:
        """Not even where it is 0 everywhere; and it is not asked for anything."""
        weighting = built("product", of=[A, B], powers=[1.0, 0.0])
        assert weights(weighting, [1.0, 3.0], [0.0, 0.0]) == weights(built("column", suffix="_a"), [1.0, 3.0], [0, 0])
        assert weighting.needs() == Needs(values=frozenset({TokenColumns(suffix="_a")}))

    def test_without_any_it_is_plain(self) -> None:
        for rescale in ("mean1", "raw"):
            weighting = built("product", of=[A, B], powers=[0.0, 0.0], rescale=rescale)
            assert weights(weighting, [1.0, 3.0], [0.0, 1.0]) == [1.0, 1.0]

    def test_where_one_is_zero_the_product_is(self) -> None:
        assert weights(built("product", of=[A, B]), [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]) == [0.0, 0.0, 3.0]

    def test_a_part_that_is_silent_leaves_the_others(self) -> None:
        got = weights(built("product", of=[A, B]), [1.0, 3.0], [0.0, 0.0])
        assert got == pytest.approx([0.5, 1.5])

    def test_constants_stay_what_they_are(self) -> None:
        """Half of weights 0.5 and 1.5 in a rejected response; with mean 1 nothing is left of the half."""
        side = {"name": "side", "rejected": 0.5}
        raw, scaled = (built("product", of=[side, A], rescale=rescale) for rescale in ("raw", "mean1"))
        assert weights(raw, [1.0, 3.0], [0.0, 0.0], desirable=False) == pytest.approx([0.25, 0.75])
        assert weights(raw, [1.0, 3.0], [0.0, 0.0]) == pytest.approx([0.5, 1.5])
        assert weights(scaled, [1.0, 3.0], [0.0, 0.0], desirable=False) == pytest.approx([0.5, 1.5])

    def test_a_wrong_part_is_named(self) -> None:
        with pytest.raises(NonFiniteError) as caught:
            weights(built("product", of=[A, "uniform"]), [1.0, -3.0], [0.0, 0.0])
        assert str(caught.value) == "weighting 'column' returned a weight that is negative, NaN or infinite"

    def test_with_the_prompt(self) -> None:
        """Importance 1 3 | 2 2 and equal weights: mean 2, so the response has 1 and 1."""
        whole = Span(torch.ones(1, 4).bool(), 2, {Attribution(): torch.tensor([[1.0, 3.0, 2.0, 2.0]])}, seeds_B=(0,))
        weighting = built("product", of=["gradient", "uniform"], scope="full_sequence")
        assert weighting.weights(whole).tolist() == [[1.0, 1.0]]


class TestMix:
    def test_by_hand(self) -> None:
        """1/4 3/4 and 1/2 1/2: with shares 0.2 and 0.8 that is 0.45 and 0.55, twice that at mean 1."""
        assert weights(built("mix", of=[A, B], shares=[0.2, 0.8]), [1.0, 3.0], [5.0, 5.0]) == pytest.approx([0.9, 1.1])

    def test_equal_shares_by_default(self) -> None:
        assert weights(built("mix", of=[A, B]), [1.0, 3.0], [3.0, 1.0]) == pytest.approx([1.0, 1.0])

    def test_of_two_it_is_the_hybrid(self) -> None:
        hybrid = built("hybrid", mix=0.7, gradient=A, prior=B)
        got = weights(built("mix", of=[A, B], shares=[0.7, 0.3]), [1.0, 3.0], [3.0, 2.0])
        assert got == pytest.approx(weights(hybrid, [1.0, 3.0], [3.0, 2.0]))

    def test_the_share_of_a_silent_part_goes_to_the_others(self) -> None:
        assert weights(built("mix", of=[A, B], shares=[0.9, 0.1]), [0.0, 0.0], [1.0, 3.0]) == pytest.approx([0.5, 1.5])

    def test_a_share_of_zero_is_no_part(self) -> None:
        weighting = built("mix", of=[A, B], shares=[0.0, 1.0])
        assert weighting.needs() == Needs(values=frozenset({TokenColumns(suffix="_b")}))
        assert weights(weighting, [9.0, 1.0], [1.0, 3.0]) == weights(built("column", suffix="_b"), [9, 1], [1.0, 3.0])

    def test_equal_weights_are_plain(self) -> None:
        assert weights(built("mix", of=["uniform", "uniform"]), [0.0] * 7, [0.0] * 7) == [1.0] * 7


@pytest.mark.parametrize("name", ["product", "mix"])
class TestBoth:
    def test_needs_are_those_of_the_parts(self, name) -> None:
        weighting = built(name, of=["self", {"name": "statistic"}, A])
        values = frozenset({TokenColumns(suffix="_a")})
        assert weighting.all_needs() == Needs(reference=True, statistics=frozenset({Entropy()}), values=values)

    def test_parts_are_shown_by_name(self, name) -> None:
        shown = built(name, of=[A, B, "uniform"]).parts(span([1.0, 3.0], [2.0, 2.0]))
        assert {key: share_BS.tolist() for key, share_BS in shown.items()} == {
            "column": [[0.25, 0.75]],
            "column 2": [[0.5, 0.5]],
            "uniform": [[0.5, 0.5]],
        }

    def test_it_is_built_again_from_its_record(self, name) -> None:
        weighting = built(name, of=[{"name": "hybrid", "mix": 0.5}, A, {"name": "decay", "gamma": 0.5}])
        assert weightings.build(name, dump_component(weighting)) == weighting
        assert "rescale" not in dump_component(weighting)["of"][1]


RECIPE = """\
model: world
data: {train: "builtin:world"}
losses: [%s]
trainer: %s
weighting: %s
"""
LINES = {
    "{name: product, of: [self]}": "weighting.of: too few items: needs at least 2, got 1",
    "{name: product, of: [self, uniform], powers: [1.0]}": (
        "weighting: expected one number in 'powers' for each of 2 weightings, got 1"
    ),
    "{name: product, of: [self, uniform], powers: [1.0, -1.0]}": ("weighting.powers.1: must be at least 0, got -1.0"),
    "{name: mix, of: [self, uniform], shares: [0.5, 0.4]}": (
        "weighting: shares: expected numbers that sum to 1, got 0.9"
    ),
    "{name: mix, of: [self, uniform], shares: [0.5, 0.3, 0.2]}": (
        "weighting: expected one number in 'shares' for each of 2 weightings, got 3"
    ),
    "{name: mix, of: [self, {name: uniform, rescale: raw}]}": (
        "weighting.of.1: 'rescale' belongs to the outer weighting; set it there and take it from 'uniform'"
    ),
    "{name: mix, of: [prior, self], scope: full_sequence}": (
        "weighting.scope: 'full_sequence' needs importances of prompt tokens, and 'self' has none; use scope 'response'"
    ),
}


def refused(tmp_path, monkeypatch, *parts: str) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE % parts)
    with pytest.raises(RecipeError) as caught:
        load_recipe("recipe.yaml")
    return str(caught.value).removeprefix("recipe.yaml:5: ")


@pytest.mark.parametrize(("line", "message"), LINES.items(), ids=list(LINES))
def test_a_wrong_line_of_a_recipe(tmp_path, monkeypatch, line, message) -> None:
    assert refused(tmp_path, monkeypatch, "dpo", "preference", line) == message


def test_a_part_that_does_not_fit_the_trainer_is_refused(tmp_path, monkeypatch) -> None:
    assert refused(tmp_path, monkeypatch, "sft", "sft", "{name: mix, of: [uniform, diff]}") == (
        "weighting: tokens in which two responses differ can be had of pairs only, but trainer 'sft' gives responses; "
        "use another weighting, or a trainer that gives pairs"
    )
