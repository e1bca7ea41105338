"""Metrics of token weights: by hand, and by definition against numpy-free arithmetic."""

from __future__ import annotations

import pytest
import torch

from alignkit.engine.metrics import silent_metrics, weight_metrics
from alignkit.loop.step import Metrics
from alignkit.models.attribution import Attribution
from alignkit.scores import Span


def read(found: Metrics) -> dict[str, tuple[float, float]]:
    return {name: (float(value), float(count)) for name, (value, count) in found.items()}


def metrics(*rows: list[float]) -> dict[str, tuple[float, float]]:
    weights_BT = torch.tensor(rows)
    return read(weight_metrics(weights_BT, torch.ones_like(weights_BT, dtype=torch.bool)))


def test_by_hand() -> None:
    """Weights 1, 2, 3: (6^2) / (14 x 3) = 6/7; the ranks follow the position exactly.

    Weights 0, 3, 0: 9 / (9 x 3) = 1/3; ranks 1.5, 3, 1.5 are symmetric, so their correlation with the position is 0.
    """
    got = metrics([1.0, 2.0, 3.0], [0.0, 3.0, 0.0])
    assert got["weights/ess"] == pytest.approx((6 / 7 + 1 / 3, 2))
    assert got["weights/max"] == (6.0, 2.0)
    assert got["weights/position_spearman"] == pytest.approx((1.0, 2))


def test_spearman_with_ties() -> None:
    """Weights 1, 1, 0, 2: ranks 2.5, 2.5, 1, 4, centred 0, 0, -1.5, 1.5; positions -1.5, -0.5, 0.5, 1.5.

    Products 0 + 0 - 0.75 + 2.25 = 1.5; norms sqrt(4.5) and sqrt(5): 1.5 / 4.743416 = 0.316228.
    """
    assert metrics([1.0, 1.0, 0.0, 2.0])["weights/position_spearman"] == pytest.approx((0.316228, 1), abs=1e-6)


@pytest.mark.parametrize("length", [1, 5])
def test_equal_weights(length) -> None:
    assert metrics([1.0] * length) == {
        "weights/ess": (1.0, 1.0),
        "weights/max": (1.0, 1.0),
        "weights/position_spearman": (0.0, 1.0),
    }


def test_padding_and_empty_rows_do_not_count() -> None:
    weights_BT = torch.tensor([[0.0, 3.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    mask_BT = torch.tensor([[False, True, False, True], [False] * 4])
    assert read(weight_metrics(weights_BT, mask_BT)) == metrics([3.0, 1.0])


def test_silent_importances_are_counted() -> None:
    mask_BS = torch.ones(3, 2, dtype=torch.bool)
    span = Span(mask_BS, 0, {Attribution(): torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 3.0]])})
    assert read(silent_metrics(span)) == {"weights/silent": (1.0, 3.0)}
    assert silent_metrics(Span(mask_BS)) == {}
