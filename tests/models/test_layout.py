"""Both layouts, tensor by tensor, and that they are the same computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_toy import CLOSE, EOS, batch, build, gradients, llama, rows, zoo

from alignkit.models.attribution import Attribution
from alignkit.models.importances import importances
from alignkit.models.layout import Example, collate
from alignkit.models.scorer import Scorer, Want
from alignkit.models.statistics import ForwardKL

EXAMPLE = Example(np.array([5, 6]), [np.array([7, 8]), np.array([9])])
LONGER = Example(np.array([1]), [np.array([2]), np.array([3, 4, 5])])


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

    def test_both_layouts_index_the_same_tokens(self) -> None:
        shared, separate = (batch(rows(), layout, num_anchor=2) for layout in ("shared", "separate"))
        assert torch.equal(shared.mask_BRT, separate.mask_BRT)
        assert torch.equal(shared.ids_BRT[shared.mask_BRT], separate.ids_BRT[separate.mask_BRT])


@pytest.mark.parametrize("num_anchor", [0, 5], ids=["pair", "anchor"])
@pytest.mark.parametrize("family", zoo())
def test_shared_is_separate(family: str, num_anchor: int) -> None:
    """Log-probs, KL, importances and the gradient of every parameter, in every family of models."""
    config = zoo()[family]
    model, other = build(config), build(config, seed=1)
    asked, kl = Attribution(), ForwardKL()
    results = {}
    for layout in ("shared", "separate"):
        laid = batch(rows(), layout, num_anchor)
        with torch.no_grad():
            theirs = Scorer(other, 4096)(laid, Want(predictions=True)).predictions
        scored = Scorer(model, 4096)(laid, Want(frozenset({asked}), frozenset({kl}), theirs))
        importance_BRT = importances(scored, laid, 2)[asked]
        sides = torch.tensor([1.0, -1.0, 0.5])[: laid.mask_BRT.shape[1]]
        (scored.logp_BRT.sum(-1) @ sides + scored.statistics[kl].sum()).sum().backward()
        results[layout] = (scored.logp_BRT.detach(), scored.statistics[kl].detach(), importance_BRT, gradients(model))
    for shared, separate in zip(results["shared"], results["separate"], strict=True):
        torch.testing.assert_close(shared, separate, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("layout", ["shared", "separate"])
def test_responses_do_not_see_each_other(layout: str) -> None:
    """Another rejected response, of another length, leaves the chosen one's log-probs and importances."""
    prompt, chosen = np.array([1, 2, 3]), np.array([4, 5, 6])
    found = []
    for rejected in (np.array([7, 8]), np.array([9, 10, 11, 12, EOS])):
        laid = collate([Example(prompt, [chosen, rejected])], layout, pad_id=0)
        scored = Scorer(llama(), 4096)(laid, Want(frozenset({Attribution()})))
        found.append((scored.logp_BRT[0, 0, :3].detach(), importances(scored, laid, 2)[Attribution()][0, 0, :3]))
    torch.testing.assert_close(found[0], found[1], **CLOSE)


@pytest.mark.parametrize("layout", ["shared", "separate"])
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
