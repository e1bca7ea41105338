"""Ratios, targets and shared drawing, worked by hand."""

from __future__ import annotations

import pytest
from pricing.job import Shape, padded, sizes
from pricing.tables import Target, markdown, ratio, seconds_of

ROWS = [
    {"index": 0, "where": "a:1", "prompt": [5, 6], "chosen": [7, 2], "rejected": [2]},
    {"index": 1, "where": "a:2", "prompt": [5], "chosen": [8, 2], "rejected": [8, 9, 2]},
]


def step(seconds: float, drawing: float = 0.0) -> dict[str, float]:
    return {"seconds": seconds, "drawing": drawing, "loss": 0.5}


RESULT = {
    "kind": "price",
    "command": "python benchmarks/price.py",
    "threads": 1,
    "vocabulary": 8192,
    "parameters": 5_300_000,
    "machine": {"processor": "P"},
    "versions": {"torch": "2"},
    "warm_up": 1,
    "window": 2,
    "batches": [sizes(ROWS)] * 4,
    "steps": {
        "products": [step(9.0), step(1.0), step(2.0), step(1.0)],
        "alignkit dpo": [step(9.0), step(1.5), step(3.0), step(1.6)],
        # Drawn at steps 0 (with cold kernels) and 2, for two steps: 4 / 2 on each.
        "alignkit tidpo": [step(20.0, 8.0), step(2.0), step(7.0, 4.0), step(2.0)],
        "trl dpo": [step(9.0), step(6.0), step(15.0)],
    },
}


def test_drawing_is_shared_out_over_its_window():
    assert seconds_of(RESULT, "alignkit tidpo") == [4.0, 5.0, 4.0]


def test_ratios_are_of_the_same_batches():
    assert ratio(RESULT, "alignkit dpo", "products")[1] == 1.5
    assert ratio(RESULT, "trl dpo", "alignkit dpo")[1] == pytest.approx(4.5)  # 6 / 1.5 and 15 / 3


def test_targets_are_met_or_not():
    lines = markdown(RESULT).splitlines()
    assert "| alignkit dpo / products | <= 1.6 | 1.50 (1.50 to 1.55) | yes |" in lines
    assert "| alignkit tidpo / alignkit dpo | <= 1.6 | 2.50 (2.08 to 2.58) | no |" in lines
    assert "| trl dpo / alignkit dpo | >= 4 | 4.50 (4.25 to 4.75) | yes |" in lines
    assert not any("weights" in line for line in lines)  # not measured


def test_a_larger_head_has_a_higher_target():
    lines = markdown(RESULT | {"vocabulary": 131072}).splitlines()
    assert "| trl dpo / alignkit dpo | >= 8 | 4.50 (4.25 to 4.75) | no |" in lines


def test_a_single_number_has_no_quartiles():
    assert Target("a", "b", 0.5).line("peak", (0.25,) * 3) == "| peak | <= 0.5 | 0.25 | yes |"


def test_sizes_and_padding_of_a_batch():
    assert sizes(ROWS) == {"prompts": 3, "responses": 8, "padded": 16}
    ids, tokens, predicts = padded(ROWS)
    assert ids.tolist() == [[5, 6, 7, 2], [5, 8, 2, 0], [5, 6, 2, 0], [5, 8, 9, 2]]
    assert tokens.sum(-1).tolist() == [4, 3, 3, 4]
    assert predicts.int().tolist() == [[0, 1, 1], [1, 1, 0], [0, 1, 0], [1, 1, 1]]


def test_parameters_of_a_shape():
    """SmolLM2-135M has 134,515,008."""
    assert Shape(30, 576, 9, 3, 49152, 2048, 1536).parameters == 134_515_008
