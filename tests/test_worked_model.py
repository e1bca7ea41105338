"""The worked numbers of what is read of hidden states and attention: OTPO, attention-based credit, CHES.

beta is 0.1; the log-probs are those of tests/data/methods_examples.json, the states stand below.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from alignkit.losses import losses
from alignkit.models.layout import Batch, Example, collate
from alignkit.models.readings import States, ches
from alignkit.scores import PairScores, Span
from alignkit.weighting import weightings
from alignkit.weighting.transport import Nearest, costs, rounds, sinkhorn

KEYS = ("otpo ", "distance to nearest", "nearest ", "attention ", "ches")
"""Beginnings of the keys that belong here."""

CHOSEN = ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0))
REJECTED = ((1.0, 0.2), (0.8, 0.0), (0.0, 0.9), (-0.5, 0.5))
"""Last hidden states at the positions that predict each token."""

ATTENTION = ((0.4, 0.0, 0.0), (0.2, 0.1, 0.0), (0.1, 0.4, 0.2))
"""What the tokens of a response attend to within it."""


def laid(*lengths: int) -> Batch:
    return collate([Example(np.arange(2), [np.arange(n) for n in lengths])], "packed", pad_id=0)


def states() -> States:
    return States(laid(3, 4), torch.tensor([*CHOSEN, *REJECTED]))


def weights(name: str, given: States, **parameters) -> list[Tensor]:
    """[T] of each response."""
    weighting = weightings.build(name, parameters)
    value_BRT = weighting.reading.read(given)
    spans = zip(given.mask_BRT.unbind(1), value_BRT.unbind(1), strict=True)
    return [
        weighting.weights(Span(mask_BS, readings={weighting.reading: value_BS}))[:, mask_BS[0]]
        for mask_BS, value_BS in spans
    ]


def loss(pair: PairScores, of: list[Tensor]) -> float:
    sides = zip((pair.chosen, pair.rejected), of, strict=True)
    return float(
        losses.build("dpo", {}).per_example(PairScores(*(replace(s, weights_BT=w.double()) for s, w in sides)))
    )


def transport(worked, pair: PairScores) -> dict:
    """OTPO: the largest cost is above 1, so that costs are divided by it."""
    distance_BCJ = torch.cdist(torch.tensor([CHOSEN]), torch.tensor([REJECTED])).double() + 1e-6
    cost_BCJ, valid_BCJ = costs(states())
    cost_BCJ, valid_BCJ = cost_BCJ[:, :3], valid_BCJ[:, :3]
    plan_BCJ = sinkhorn(cost_BCJ.double(), valid_BCJ, 0.1, 0.2, rounds(0.1, 0.2)).exp()
    both, mean1 = weights("transport", states()), weights("transport", states(), rescale="mean1")
    far = Nearest().read(states())
    norms = torch.linalg.vector_norm(torch.tensor([*CHOSEN, *REJECTED]), dim=-1)
    return {
        "otpo cost before scaling": distance_BCJ[0].tolist(),
        "otpo largest cost, largest norm (zero rows of masked tokens reach the latter)": [
            float(distance_BCJ.max()),
            float(norms.max()),
        ],
        "otpo mass transported, scale": [float(plan_BCJ.sum()), float(plan_BCJ.sum()) / 3],
        "otpo w chosen (sum = min length)": both[0][0].tolist(),
        "otpo w rejected (sum = min length)": both[1][0].tolist(),
        "otpo loss raw": loss(pair, both),
        "otpo loss mean1": loss(pair, mean1),
        "distance to nearest, chosen": far[0, 0, :3].tolist(),
        "distance to nearest, rejected": far[0, 1].tolist(),
        "nearest mean1 loss": loss(pair, weights("transport", states(), by="distance")),
    }


def attention(worked, pair: PairScores) -> dict:
    """Shares: scaled to sum 1 over the response."""
    given = States(laid(3), torch.zeros(3, 1), torch.tensor([[ATTENTION]]))
    last, received = (weights("attention", given, of=of, rescale="sum1")[0] for of in ("last", "received"))
    return {
        "attention last token, share": last[0].tolist(),
        "attention received per later token incl. itself, share": received[0].tolist(),
    }


def displacement(worked, pair: PairScores) -> dict:
    """CHES of the states, of their sums and of their means."""
    sums_2D, means_2D = states().sums_BRD[0], states().means_BRD[0]
    return {
        "ches": float(ches(*sums_2D)),
        "ches length-normalised": float(ches(*means_2D)),
        "ches length-normalised, roles swapped": float(ches(*means_2D.flip(0))),
    }


PARTS = (transport, attention, displacement)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_numbers(part, worked, newer) -> None:
    for key, got in part(worked, worked.pair()).items():
        for mine, wanted in zip(np.ravel(got), np.ravel(newer[key]), strict=True):
            assert mine == pytest.approx(wanted, rel=1e-6, abs=1e-6), key


def test_every_number_has_its_place(worked, newer) -> None:
    here = {key for part in PARTS for key in part(worked, worked.pair())}
    assert here == {key for key in newer if key.startswith(KEYS)}
