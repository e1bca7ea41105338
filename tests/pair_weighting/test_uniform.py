"""Uniform pair weights."""

from __future__ import annotations

from alignkit.asks.needs import Needs
from alignkit.pair_weighting import pair_weightings


def test_every_pair_counts_one(worked) -> None:
    uniform = pair_weightings.build("uniform", {})
    factor_B = uniform.per_pair(worked.pair())
    assert factor_B.tolist() == [1.0] and not factor_B.requires_grad
    assert uniform.needs() == Needs()
