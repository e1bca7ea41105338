"""Weightings whose weights are absolute: by ids, lengths, sides, a guide or the policy's probabilities."""

from __future__ import annotations

import math

import pytest
import torch

from alignkit.asks.columns import RowColumn
from alignkit.asks.needs import Needs
from alignkit.asks.pairs import Changed, WithinShorter
from alignkit.contrasts import contrasts
from alignkit.contrasts.values import GuideRatio
from alignkit.errors import RecipeError
from alignkit.recipe.load import load_recipe
from alignkit.registry import dump_component
from alignkit.scores import Span
from alignkit.weighting import weightings
from alignkit.weighting.base import TokenWeighting


def built(name: str, **values) -> TokenWeighting:
    return weightings.build(name, values)


def weights(weighting: TokenWeighting, numbers: list[float], desirable: bool = True, seed: int = 0) -> list[float]:
    """Of one response, at whose tokens `numbers` are known."""
    values_BS = torch.tensor([numbers])
    known = dict.fromkeys(weighting.needs().values, values_BS)
    mask_BS = torch.ones_like(values_BS).bool()
    span = Span(mask_BS, seeds_B=(seed,), desirable_B=torch.tensor([desirable]), values=known)
    return weighting.weights(span)[0].tolist()


def of_probabilities(weighting: TokenWeighting, *probabilities: float) -> list[float]:
    """Of one response with these, its padding aside."""
    logp_BS = torch.tensor([[*probabilities, 0.0]]).log()
    mask_BS = torch.tensor([[True] * len(probabilities) + [False]])
    return weighting.weights(Span(mask_BS, policy_BS=logp_BS))[0, :-1].tolist()


class TestDiff:
    def test_by_hand(self) -> None:
        assert weights(built("diff"), [0.0, 1.0, 1.0]) == [1.0, 3.0, 3.0]
        assert weights(built("diff", changed=5, kept=0.5), [0.0, 1.0]) == [0.5, 5.0]

    def test_without_what_is_kept_equal_responses_say_nothing(self) -> None:
        assert weights(built("diff", kept=0), [0.0, 0.0]) == [0.0, 0.0]

    def test_equal_weights_are_plain(self) -> None:
        assert weights(built("diff", changed=1), [0.0, 1.0, 1.0]) == [1.0, 1.0, 1.0]

    def test_needs(self) -> None:
        assert built("diff", min_block=2).all_needs() == Needs(values=frozenset({Changed(min_block=2)}))
        assert built("diff", mode="prefix").needs() == Needs(values=frozenset({Changed(mode="prefix")}))


class TestGuide:
    def test_by_hand(self) -> None:
        """1 +- 0.5 * 0.2 * g, g 1, -2, 0."""
        weighting = built("guide", beta=0.2)
        assert weights(weighting, [1.0, -2.0, 0.0]) == pytest.approx([1.1, 0.8, 1.0])
        assert weights(weighting, [1.0, -2.0, 0.0], desirable=False) == pytest.approx([0.9, 1.2, 1.0])

    def test_no_weight_is_negative(self) -> None:
        """1 / (0.5 * 1) = 2 nats take all of it."""
        assert weights(built("guide", beta=1.0), [-2.5, -1.0, 3.0]) == [0.0, 0.5, 2.5]
        assert weights(built("guide", beta=1.0), [2.5, -1.0], desirable=False) == [0.0, 1.5]

    def test_without_alpha_it_is_plain(self) -> None:
        assert weights(built("guide", alpha=0), [1.0, -2.0, 0.3]) == [1.0, 1.0, 1.0]

    def test_size(self) -> None:
        for desirable in (True, False):
            assert weights(built("guide", form="size"), [1.0, -2.0, 0.0], desirable) == [1.0, 2.0, 0.0]

    def test_the_heaviest_are_likely_in_chosen_and_unlikely_in_rejected_responses(self) -> None:
        """Whoever takes the top of the weights has SePO's tokens on both sides."""
        ratios = [0.4, -0.2, 0.9, -1.1]
        for desirable, top in ((True, 2), (False, 3)):
            found = weights(built("guide"), ratios, desirable)
            assert found.index(max(found)) == top

    def test_needs(self) -> None:
        contrast = contrasts.build("sft", {"steps": 7})
        assert built("guide", contrast=contrast).all_needs() == Needs(values=frozenset({GuideRatio(contrast=contrast)}))


class TestConfidence:
    def test_by_hand(self) -> None:
        """The mean of 0.9, 0.1, 0.5, 0.9 is 0.6: two of four are below it, and weigh 4 / 2."""
        assert of_probabilities(built("confidence"), 0.9, 0.1, 0.5, 0.9) == [0.0, 2.0, 2.0, 0.0]

    @pytest.mark.parametrize("probabilities", [[0.3], [0.7, 0.7, 0.7], [0.1] * 7])
    def test_of_equally_sure_tokens_none_is_chosen(self, probabilities) -> None:
        """Whatever rounding says of their mean; on any other scale they weigh the same instead."""
        assert of_probabilities(built("confidence"), *probabilities) == [0.0] * len(probabilities)
        assert of_probabilities(built("confidence", rescale="mean1"), *probabilities) == [1.0] * len(probabilities)

    def test_a_little_less_sure_is_chosen(self) -> None:
        assert of_probabilities(built("confidence"), 0.7, 0.7, 0.69) == [0.0, 0.0, 3.0]

    def test_soft_weights_follow_the_probability(self) -> None:
        assert of_probabilities(built("confidence", soft=0.2), 1.0, 0.5) == pytest.approx([1.0, 0.9])
        assert of_probabilities(built("confidence", soft=1.0), 0.25, 0.5) == pytest.approx([0.25, 0.5])
        assert of_probabilities(built("confidence", soft=0.0), 0.25, 0.5) == [1.0, 1.0]

    def test_needs_nothing(self) -> None:
        assert built("confidence").all_needs() == Needs()


class TestDecay:
    def test_by_hand(self) -> None:
        assert weights(built("decay", gamma=0.5), [0.0] * 4) == [0.5, 0.25, 0.125, 0.0625]

    def test_the_place_is_that_among_the_responses_tokens(self) -> None:
        span = Span(torch.tensor([[False, True, False, True]]))
        assert built("decay", gamma=0.5).weights(span).tolist() == [[0.0, 0.5, 0.0, 0.25]]

    def test_without_decay_it_is_plain(self) -> None:
        assert weights(built("decay", gamma=1.0), [0.0] * 3) == [1.0, 1.0, 1.0]


class TestSharedLength:
    LONGER = (1.0, 1.0, 0.0, 0.0, 0.0)

    def test_alpha_beyond_the_shorter_one(self) -> None:
        assert weights(built("shared_length", alpha=0.25), self.LONGER) == [1.0, 1.0, 0.25, 0.25, 0.25]
        assert weights(built("shared_length", alpha=1.0), self.LONGER) == [1.0] * 5

    def test_average(self) -> None:
        assert weights(built("shared_length", mode="average"), self.LONGER) == pytest.approx([0.4] * 5)

    @pytest.mark.parametrize("mode", ["alpha", "sample", "average"])
    def test_the_shorter_one_is_plain(self, mode) -> None:
        assert weights(built("shared_length", mode=mode), [1.0] * 3) == [1.0, 1.0, 1.0]

    def test_as_many_are_drawn_as_the_shorter_one_has(self) -> None:
        """Those of a seed are always the same; over seeds each token has its turn, two times in five."""
        weighting = built("shared_length", mode="sample")
        drawn = torch.tensor([weights(weighting, self.LONGER, seed=seed) for seed in range(500)])
        assert drawn.sum(-1).tolist() == [2.0] * 500 and drawn.unique().tolist() == [0.0, 1.0]
        assert drawn.mean(0).tolist() == pytest.approx([0.4] * 5, abs=3 * math.sqrt(0.24 / 500))
        assert weights(weighting, self.LONGER, seed=3) == drawn[3].tolist()

    def test_the_draw_is_not_that_of_random_weights(self) -> None:
        """In a product of both the kept tokens would have the smallest ones."""
        drawn = [
            [weights(weighting, self.LONGER, seed=seed) for seed in range(20)]
            for weighting in (built("random"), built("shared_length", mode="sample"))
        ]
        assert any(kept[numbers.index(min(numbers))] == 0 for numbers, kept in zip(*drawn, strict=True))

    def test_needs(self) -> None:
        assert built("shared_length").all_needs() == Needs(values=frozenset({WithinShorter()}))


class TestSide:
    def test_constants(self) -> None:
        weighting = built("side", chosen=2.0, rejected=0.5)
        assert weights(weighting, [0.0] * 2) == [2.0, 2.0]
        assert weights(weighting, [0.0] * 2, desirable=False) == [0.5, 0.5]

    def test_the_datas_number_weighs_rejected_responses(self) -> None:
        weighting = built("side", rejected_column="gap")
        assert weights(weighting, [0.3] * 2) == [1.0, 1.0]
        assert weights(weighting, [0.3] * 2, desirable=False) == pytest.approx([0.3, 0.3])

    def test_needs(self) -> None:
        gap = frozenset({"gap"})
        wanted = Needs(columns=gap, nonnegative=gap, values=frozenset({RowColumn(column="gap")}))
        assert built("side").all_needs() == Needs()
        assert built("side", rejected_column="gap").all_needs() == wanted


RECIPE = """\
model: world
data: {train: "builtin:world"}
losses: [%s]
trainer: %s
weighting: %s
"""
SAMPLES = RECIPE + "rewards: [{name: length, shape: target, target: 3}]\nsampler: {name: generate, responses: 2}\n"

LINES = {
    "{name: diff, mode: prefix, min_block: 2}": "'min_block' has no use with mode 'prefix'; leave it out",
    "{name: diff, changed: 0, kept: 0}": "'changed' and 'kept' are both 0, so no token counts; raise one",
    "{name: side, chosen: 0, rejected: 0}": "'chosen' and 'rejected' are both 0, so no token counts; raise one",
    "{name: guide, form: size, beta: 1.0}": "'beta' has no use with form 'size'; leave it out",
    "{name: shared_length, mode: sample, alpha: 0.25}": "'alpha' has no use with mode 'sample'; leave it out",
    "{name: side, rejected: 0.9, rejected_column: gap}": (
        "'rejected' and 'rejected_column' both weigh rejected responses; leave one out"
    ),
}
NUMBERS = {
    "{name: diff, changed: -1}": "weighting.changed: must be at least 0, got -1",
    "{name: decay, gamma: 1.1}": "weighting.gamma: must be at most 1, got 1.1",
    "{name: confidence, soft: 2.0}": "weighting.soft: must be at most 1, got 2.0",
}
RESOLVED = (
    ("diff", {"mode": "prefix"}),
    ("guide", {"form": "size"}),
    ("shared_length", {"mode": "average"}),
    ("side", {"rejected_column": "gap"}),
)


@pytest.mark.parametrize(("name", "values"), RESOLVED)
def test_a_resolved_recipe_is_read_again(name, values) -> None:
    """It has every parameter, those of no use too."""
    weighting = built(name, **values)
    assert weightings.build(name, dump_component(weighting)) == weighting


PAIRS_ONLY = (
    "can be had of pairs only, but trainer 'sft' gives responses; use another weighting, or a trainer that gives pairs"
)
KNOWN = "known before training, and trainer 'online_preference' samples its responses; use another weighting"


def refused(tmp_path, monkeypatch, text: str) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe("recipe.yaml")
    return str(caught.value).removeprefix("recipe.yaml:5: ")


@pytest.mark.parametrize("line", [*LINES, *NUMBERS])
def test_a_wrong_line_of_a_recipe(tmp_path, monkeypatch, line) -> None:
    wanted = f"weighting: {LINES[line]}" if line in LINES else NUMBERS[line]
    assert refused(tmp_path, monkeypatch, RECIPE % ("dpo", "preference", line)) == wanted


@pytest.mark.parametrize(
    ("name", "words"), [("diff", "tokens in which two responses differ"), ("shared_length", "lengths of two responses")]
)
def test_pairs_of_the_data_are_compared_alone(tmp_path, monkeypatch, name, words) -> None:
    assert refused(tmp_path, monkeypatch, RECIPE % ("sft", "sft", name)) == f"weighting: {words} {PAIRS_ONLY}"
    sampled = refused(tmp_path, monkeypatch, SAMPLES % ("dpo", "online_preference", name))
    assert sampled == f"weighting: '{name}' needs {words}, {KNOWN}"


def test_a_guide_is_trained_on_what_the_trainer_gives(tmp_path, monkeypatch) -> None:
    assert refused(tmp_path, monkeypatch, RECIPE % ("sft", "sft", "guide")) == (
        "weighting: contrast 'dpo' trains on pairs, but trainer 'sft' gives responses; contrasts that fit: prompts"
    )
    assert refused(tmp_path, monkeypatch, SAMPLES % ("dpo", "online_preference", "guide")) == (
        f"weighting: 'guide' needs log-ratios of a guide to the reference ('dpo'), {KNOWN}"
    )
