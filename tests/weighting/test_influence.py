"""Weights by prompt influence, and the control whose weights are permuted."""

from __future__ import annotations

import pytest
import torch

from alignkit.asks.needs import Needs
from alignkit.asks.prompt_influence import PromptInfluence
from alignkit.errors import RecipeError
from alignkit.recipe.load import load_recipe
from alignkit.scores import Span
from alignkit.weighting import weightings
from alignkit.weighting.base import TokenWeighting


def built(name: str, **values) -> TokenWeighting:
    return weightings.build(name, values)


def span(weighting: TokenWeighting, values, mask=None, seeds=None) -> Span:
    values_BS = torch.tensor(values)
    mask_BS = torch.ones_like(values_BS).bool() if mask is None else torch.tensor(mask)
    (key,) = weighting.needs().values
    return Span(mask_BS, seeds_B=tuple(seeds or range(len(values))), values={key: values_BS})


class TestInfluence:
    @pytest.mark.parametrize(
        ("settings", "wanted"),
        [
            ({"floor": 0.0}, [0.5, 2.0, 0.5]),  # 1, 4, 1 have the mean 2
            ({"floor": 1.0}, [0.75, 1.5, 0.75]),  # 3, 6, 3 of the mean 4
            ({"floor": 0.0, "sharpen": 0.5}, [0.75, 1.5, 0.75]),  # 1, 2, 1
            ({"floor": 0.5, "rescale": "raw"}, [2.0, 5.0, 2.0]),
        ],
    )
    def test_by_hand(self, settings, wanted) -> None:
        """1, 4, 1, the last of them negative as a pmi can be, and padding that is no part of the mean."""
        weighting = built("influence", **settings)
        got_BT = weighting.weights(span(weighting, [[1.0, 4.0, 9.0, -1.0]], [[True, True, False, True]]))
        torch.testing.assert_close(got_BT, torch.tensor([[wanted[0], wanted[1], 0.0, wanted[2]]]))

    def test_a_response_that_does_not_hang_on_the_prompt_weighs_all_tokens_alike(self) -> None:
        weighting = built("influence")
        assert weighting.weights(span(weighting, [[0.0, 0.0, 0.0]])).tolist() == [[1.0, 1.0, 1.0]]

    def test_needs(self) -> None:
        """Floor and exponent come after, so they share what is kept on disk."""
        assert built("influence").all_needs() == Needs(values=frozenset({PromptInfluence(form="kl", prompts=4)}))
        assert built("influence", floor=0.5, sharpen=2.0).needs() == built("influence").needs()
        assert built("influence", form="pmi").needs() != built("influence").needs()

    def test_responses_that_are_sampled_have_none(self, tmp_path) -> None:
        (tmp_path / "recipe.yaml").write_text(
            "model: world\ndata: {train: 'builtin:world'}\ntrainer: on_policy\nweighting: influence\n"
            "losses: [policy_gradient]\nsampler: {name: generate}\nrewards: [world]\nadvantage: group\n"
        )
        with pytest.raises(RecipeError) as caught:
            load_recipe(tmp_path / "recipe.yaml")
        message = (
            "weighting: 'influence' needs influence of the prompt, with 4 others, known before training, and trainer "
            "'on_policy' samples its responses; use another weighting"
        )
        assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


class TestShuffled:
    def test_each_response_keeps_its_weights_in_another_order(self) -> None:
        weighting, of = built("shuffled"), built("influence")
        values = torch.arange(1.0, 41).expand(3, -1).tolist()
        got_BT, plain_BT = (one.weights(span(one, values, seeds=[5, 6, 7])) for one in (weighting, of))
        torch.testing.assert_close(got_BT.sort().values, plain_BT)
        orders = [tuple(row_T.argsort().tolist()) for row_T in got_BT]
        assert len({*orders}) == 3 and tuple(range(40)) not in orders
        assert torch.equal(weighting.weights(span(weighting, values, seeds=[5, 6, 7])), got_BT)

    def test_the_last_token_takes_part(self) -> None:
        """EOS has all the weight of its response, and does not keep it."""
        weighting = built("shuffled", of={"name": "influence", "floor": 0.0})
        got_BT = weighting.weights(span(weighting, [[0.0, 0.0, 0.0, 1.0]] * 200))
        share = got_BT.argmax(-1).bincount(minlength=4) / 200
        assert got_BT.amax(-1).tolist() == [4.0] * 200 and (share - 0.25).abs().max() < 0.1

    def test_padding_is_not_shuffled_in(self) -> None:
        weighting = built("shuffled")
        tight_BT = weighting.weights(span(weighting, [[1.0, 2.0, 5.0]], seeds=[3]))
        values, mask = [[9.0, 1.0, 9.0, 2.0, 5.0, 9.0]], [[False, True, False, True, True, False]]
        loose_BT = weighting.weights(span(weighting, values, mask, seeds=[3]))
        torch.testing.assert_close(loose_BT[0, [1, 3, 4]], tight_BT[0])
        assert loose_BT[0, [0, 2, 5]].tolist() == [0.0] * 3

    def test_random_weights_are_not_sorted_by_it(self) -> None:
        """Their draws would be the order if the seeds were the same."""
        weighting = built("shuffled", of="random")
        got_T = weighting.weights(Span(torch.ones(1, 50, dtype=torch.bool), seeds_B=(4,)))[0]
        assert not torch.equal(got_T, got_T.sort().values)

    def test_needs_what_the_other_needs(self) -> None:
        assert built("shuffled", of="gradient").needs() == built("gradient").needs()
        assert built("shuffled").needs() == built("influence").needs()
