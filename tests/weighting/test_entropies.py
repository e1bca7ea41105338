"""Weights by entropy, worked by hand."""

from __future__ import annotations

import pytest
import torch

from alignkit.asks.needs import Needs
from alignkit.models.statistics import Entropy
from alignkit.scores import Span
from alignkit.weighting import weightings


def weights(name: str, *entropies: list[float], **parameters) -> list[list[float]]:
    """Of responses with these entropies."""
    width = max(map(len, entropies))
    entropy_BS = torch.tensor([[*row, *[0.0] * (width - len(row))] for row in entropies])
    mask_BS = torch.arange(width) < torch.tensor([len(row) for row in entropies])[:, None]
    span = Span(mask_BS, statistics={Entropy(): entropy_BS})
    found = weightings.build(name, parameters).weights(span).tolist()
    return [row[: len(entropy)] for row, entropy in zip(found, entropies, strict=True)]


@pytest.mark.parametrize("name", ["entropy", "top_entropy"])
def test_asks_for_the_entropy(name) -> None:
    assert weightings.build(name, {}).all_needs() == Needs(statistics=frozenset({Entropy()}))


@pytest.mark.parametrize("rescale", ["mean1", "raw"])
@pytest.mark.parametrize(
    ("strength", "wanted"), [(0.1, [0.95, 1.0, 1.05]), (0.0, [1.0, 1.0, 1.0]), (1.0, [0.5, 1.0, 1.5])]
)
def test_a_share_follows_the_entropy(strength, wanted, rescale) -> None:
    """0.5, 1, 1.5 are that of their mean already; the mean stays 1 without being rescaled."""
    (got,) = weights("entropy", [0.5, 1.0, 1.5], strength=strength, rescale=rescale)
    assert got == pytest.approx(wanted)


def test_where_nothing_is_undecided_all_weigh_the_same() -> None:
    assert weights("entropy", [0.0, 0.0], strength=1.0, rescale="raw") == [[1.0, 1.0]]


def test_the_most_undecided_tokens_have_all_the_weight() -> None:
    """Of ten tokens two, of three (0.6) one, of one itself; a response's mean is 1."""
    got = weights("top_entropy", [0.1, 0.9, 0.3, 0.2, 0.8, 0.0, 0.4, 0.5, 0.6, 0.7], [1.0, 3.0, 2.0], [0.0])
    assert got == [[0, 5.0, 0, 0, 5.0, 0, 0, 0, 0, 0], [0, 3.0, 0], [1.0]]


def test_as_in_the_paper_the_others_are_lost() -> None:
    assert weights("top_entropy", [1.0, 3.0, 2.0, 0.5, 0.1], rescale="raw") == [[0.0, 1.0, 0.0, 0.0, 0.0]]


def test_ties_count_together() -> None:
    assert weights("top_entropy", [2.0, 1.0, 2.0, 2.0], fraction=0.25, rescale="raw") == [[1.0, 0.0, 1.0, 1.0]]
