"""The worked numbers of what holds a policy to its reference; inputs as in tests/data/methods_examples.json."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from alignkit.losses import losses
from alignkit.scores import PairScores

COMPLEMENT = "kl_off (ours): complement KL, lambda=1, w = influence |pmi| mean1 clipped to 1, chosen"


def held(worked, pair: PairScores) -> dict:
    """Weights of the chosen response alone; with equal ones the rejected response has no part in it.

    (1 - .128894) x .032382 + 0 + (1 - .102441) x .022314 nats: only the first and the last token are held.
    """
    weights = torch.tensor([[0.128894, 2.768664, 0.102441]], dtype=torch.float64)
    pair = replace(pair, chosen=replace(pair.chosen, weights_BT=weights))
    return {COMPLEMENT: float(losses.build("kl_off", {}).per_example(pair))}


PARTS = (held,)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_numbers(part, worked, newer) -> None:
    for key, got in part(worked, worked.pair()).items():
        assert got == pytest.approx(newer[key], rel=1e-6, abs=1e-6), key


def test_every_number_has_its_place(worked, newer) -> None:
    assert {key for part in PARTS for key in part(worked, worked.pair())} == {
        k for k in newer if k.startswith("kl_off")
    }
