"""The layouts, tensor by tensor, and that they are the same computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from engine_toy import CLOSE, EOS, SIZES, batch, build, gradients, llama, rows, zoo

from alignkit.models.attribution import Attribution
from alignkit.models.importances import importances
from alignkit.models.layout import Example, collate
from alignkit.models.packing import pack
from alignkit.models.scorer import Scorer, Want
from alignkit.models.statistics import ForwardKL

EXAMPLE = Example(np.array([5, 6]), [np.array([7, 8]), np.array([9])])
LONGER = Example(np.array([1]), [np.array([2]), np.array([3, 4, 5])])


class TestPacked:
    def test_by_hand(self) -> None:
        """[5 6 | 1 | 7 8 | 9 | 2 | 3 4 5]: both prompts, then all responses; each begins where its prompt ends."""
        laid = collate([EXAMPLE, LONGER], "packed", pad_id=0)
        assert laid.ids_XL.tolist() == [[5, 6, 1, 7, 8, 9, 2, 3, 4, 5]]
        assert laid.positions_XL.tolist() == [[0, 1, 0, 2, 3, 2, 1, 1, 2, 3]]
        assert laid.row_BRT[laid.mask_BRT].tolist() == [0] * 7
        assert laid.place_BRT[laid.mask_BRT].tolist() == [3, 4, 5, 6, 7, 8, 9]
        assert laid.predictor_BRT[laid.mask_BRT].tolist() == [1, 3, 1, 2, 2, 7, 8]
        assert laid.packing is not None and laid.packing.num_prompt == 3
        assert [part.tolist() for part in laid.passes(laid.ids_XL)] == [[[5, 6, 1]], [[7, 8, 9, 2, 3, 4, 5]]]

    def test_what_attention_looks_at(self) -> None:
        """As segments of ids: what asks, and what each may look at, its prompt first; 5 stands at place 0."""
        laid = collate([EXAMPLE, LONGER], "packed", pad_id=0)
        prompts, responses = laid.packing.prompts, laid.packing.responses
        first_N, second_N = (part[0] for part in laid.passes(laid.ids_XL))
        assert prompts.queries is not prompts.keys and torch.equal(prompts.queries.place_M, prompts.keys.place_M)
        assert [t.squeeze(-1).tolist() for t in prompts.keys.of(first_N[:, None].float())] == [[[5, 6], [1, 5]]]
        (asking,) = responses.queries.of(second_N[:, None].float())
        (seen,) = responses.keys.of(laid.ids_XL[0][:, None].float())
        assert asking.squeeze(-1).tolist() == [[7, 8, 7], [3, 4, 5], [9, 7, 7], [2, 7, 7]]
        assert seen.squeeze(-1).tolist() == [[5, 6, 7, 8], [1, 3, 4, 5], [5, 6, 9, 5], [1, 2, 5, 5]]
        assert [before_S.tolist() for before_S in responses.before] == [[2, 1, 2, 1]]
        assert asking.flatten()[responses.slot_N].tolist() == second_N.tolist()

    def test_an_equal_prompt_is_computed_once(self) -> None:
        """A group of samples, and another example between; log-probs are those of rows of their own."""
        prompt, other = np.array([5, 6, 7]), np.array([5, 6])
        examples = [Example(p, [np.array(r)]) for p, r in ((prompt, [1]), (other, [2, 3]), (prompt.copy(), [4, 1, 2]))]
        laid = collate(examples, "packed", pad_id=0)
        assert laid.ids_XL.tolist() == [[5, 6, 7, 5, 6, 1, 2, 3, 4, 1, 2]]
        assert laid.positions_XL.tolist() == [[0, 1, 2, 0, 1, 3, 2, 3, 3, 4, 5]]
        assert laid.predictor_BRT[laid.mask_BRT].tolist() == [2, 4, 6, 2, 8, 9]
        assert laid.prompt.predictor_N.tolist() == [0, 1, 3, 0, 1]
        found = []
        for layout in ("packed", "separate"):
            model = llama()
            scored = Scorer(model, 4096)(collate(examples, layout, pad_id=0), Want(prompt=True))
            (scored.logp_BRT.sum() + scored.prompt_BP.square().sum()).backward()
            found.append((scored.logp_BRT.detach(), scored.prompt_BP.detach(), gradients(model)))
        torch.testing.assert_close(*found, rtol=1e-5, atol=2e-5)

    def test_segments_of_other_lengths_get_other_tables(self) -> None:
        """Where padding would cost more than another call; whatever the tables, all tokens are found again."""
        lengths = np.array([3, 200, 1, 195, 190])
        found = pack(np.array([4, 100]), lengths, np.array([0, 1, 0, 1, 0]), "cpu").responses
        assert found.queries.shapes == [(2, 200), (1, 190), (2, 3)]
        assert found.keys.shapes == [(2, 300), (1, 194), (2, 7)]
        assert torch.equal(found.queries.place_M[found.slot_N], torch.arange(lengths.sum()))


class TestShared:
    def test_by_hand(self) -> None:
        """[5 6 | 7 8 | 9]: the second response starts at position 2 again and is predicted by the prompt's end."""
        laid = collate([EXAMPLE], "shared", pad_id=0)
        assert laid.ids_XL.tolist() == [[5, 6, 7, 8, 9]]
        assert laid.positions_XL.tolist() == [[0, 1, 2, 3, 2]]
        assert laid.mask_BRT.tolist() == [[[True, True], [True, False]]]
        assert laid.row_BRT.tolist() == [[[0, 0], [0, 0]]]
        assert laid.place_BRT.tolist() == [[[2, 3], [4, 0]]]
        assert laid.predictor_BRT.tolist() == [[[1, 2], [1, 0]]]
        assert laid.ids_BRT[laid.mask_BRT].tolist() == [7, 8, 9]
        assert laid.last_BR.tolist() == [[1, 0]]
        assert laid.attention.int().tolist() == [
            [[[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]]
        ]

    def test_padding_is_seen_by_padding_only(self) -> None:
        """It sees something itself: a row without any visible column would be NaN in some kernels."""
        laid = collate([EXAMPLE, Example(np.array([1]), [np.array([2]), np.array([3])])], "shared", pad_id=0)
        assert laid.ids_XL[1].tolist() == [1, 2, 3, 0, 0]
        assert not laid.attention[1, 0, :3, 3:].any()
        assert laid.attention[1, 0].any(-1).all()


class TestSeparate:
    def test_by_hand(self) -> None:
        laid = collate([EXAMPLE, LONGER], "separate", pad_id=0)
        assert laid.ids_XL.tolist() == [[5, 6, 7, 8], [5, 6, 9, 0], [1, 2, 0, 0], [1, 3, 4, 5]]
        assert laid.positions_XL.tolist() == [[0, 1, 2, 3], [0, 1, 2, 0], [0, 1, 0, 0], [0, 1, 2, 3]]
        assert laid.attention.int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
        assert laid.row_BRT[laid.mask_BRT].tolist() == [0, 0, 1, 2, 3, 3, 3]
        assert laid.place_BRT[laid.mask_BRT].tolist() == [2, 3, 2, 1, 1, 2, 3]
        assert laid.predictor_BRT[laid.mask_BRT].tolist() == [1, 2, 1, 0, 0, 1, 2]
        assert laid.prompt_mask_BP.tolist() == [[True, True], [True, False]]

    @pytest.mark.parametrize("layout", ["packed", "shared"])
    def test_all_layouts_index_the_same_tokens(self, layout: str) -> None:
        other, separate = (batch(rows(), name, num_anchor=2) for name in (layout, "separate"))
        assert torch.equal(other.mask_BRT, separate.mask_BRT)
        assert torch.equal(other.ids_BRT[other.mask_BRT], separate.ids_BRT[separate.mask_BRT])


WINDOWS = {
    "mistral, window": transformers.MistralConfig(**SIZES, sliding_window=4),
    "gemma3, window": transformers.Gemma3TextConfig(
        **SIZES, head_dim=4, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
    ),
}
"""Rows reach beyond the window, in the pass over the prompts and in that over the responses."""


@pytest.mark.parametrize("num_anchor", [0, 5], ids=["pair", "anchor"])
@pytest.mark.parametrize("family", zoo() | WINDOWS)
def test_every_layout_is_separate(family: str, num_anchor: int) -> None:
    """Log-probs, KL, importances and the gradient of every parameter, in every family of models."""
    config = (zoo() | WINDOWS)[family]
    model, other = build(config), build(config, seed=1)
    asked, kl = Attribution(), ForwardKL()
    results = {}
    layouts = {"packed", "shared"} - {"packed" if "eager" in family else "shared" if "window" in family else ""}
    for layout in ("separate", *layouts):
        laid = batch(rows(), layout, num_anchor)
        with torch.no_grad():
            theirs = Scorer(other, 4096)(laid, Want(predictions=True)).predictions
        scored = Scorer(model, 4096)(laid, Want(frozenset({asked}), frozenset({kl}), theirs))
        importance_BRT = importances(scored, laid, 2)[asked]
        sides = torch.tensor([1.0, -1.0, 0.5])[: laid.mask_BRT.shape[1]]
        (scored.logp_BRT.sum(-1) @ sides + scored.statistics[kl].sum()).sum().backward()
        results[layout] = (scored.logp_BRT.detach(), scored.statistics[kl].detach(), importance_BRT, gradients(model))
    for layout in layouts:
        for found, separate in zip(results[layout], results["separate"], strict=True):
            torch.testing.assert_close(found, separate, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
def test_responses_do_not_see_each_other(layout: str) -> None:
    """Another rejected response, of another length, leaves the chosen one's log-probs and importances."""
    prompt, chosen = np.array([1, 2, 3]), np.array([4, 5, 6])
    found = []
    for rejected in (np.array([7, 8]), np.array([9, 10, 11, 12, EOS])):
        laid = collate([Example(prompt, [chosen, rejected])], layout, pad_id=0)
        scored = Scorer(llama(), 4096)(laid, Want(frozenset({Attribution()})))
        found.append((scored.logp_BRT[0, 0, :3].detach(), importances(scored, laid, 2)[Attribution()][0, 0, :3]))
    torch.testing.assert_close(found[0], found[1], **CLOSE)


@pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
def test_packing_is_the_inverse_of_unpacking(layout: str) -> None:
    """By the mask, whatever lies off it; of all responses, of the first ones and of the prompts."""
    laid = batch(rows(), layout)
    masks = [(laid.packed, laid.mask_BRT), (laid.first, laid.mask_BRT[:, 0]), (laid.prompt, laid.predicted_prompt_BP)]
    for packed, mask in masks:
        values = torch.arange(1.0, 1 + mask.numel()).view(mask.shape)
        assert torch.equal(packed.pack(values), values[mask])
        assert torch.equal(packed.unpack(packed.pack(values)), values * mask)


def test_every_example_has_as_many_responses() -> None:
    with pytest.raises(AssertionError):
        collate([EXAMPLE, Example(np.array([1]), [np.array([2])])], "shared", pad_id=0)
