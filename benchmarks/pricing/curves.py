"""How the price grows: one size at a time, all others as they are, on made-up rows of exact lengths."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pricing.job import WARM_UP, Shape, sizes
from pricing.making import made_up_job
from pricing.taking import alone, in_turns

TIMED = 3
"""Steps of each point, but 1 of large models."""

ROWS = {"prompt": 128, "response": 128, "pairs": 4}
"""Tokens of a prompt and of each response, and pairs of a batch, where they do not vary."""

SMOLLM2 = Shape(30, 576, 9, 3, 49152, 2048, 1536)
CURVES: dict[str, list[tuple[str, Shape, dict[str, int]]]] = {
    **{
        name: [(str(value), Shape(positions=4096), {name: value}) for value in values]
        for name, values in {
            "prompt": (64, 128, 256, 512, 1024),
            "response": (32, 64, 128, 256, 512),
            "pairs": (1, 2, 4, 8, 16),
        }.items()
    },
    "vocabulary": [(f"{value:,}", Shape(vocabulary=value), {}) for value in (8192, 32768, 131072)],
    "parameters": [
        (f"{shape.parameters / 1e6:.0f} M", shape, {})
        for shape in (
            Shape(2, 128, 2, 2, 4096),
            Shape(),
            Shape(8, 512, 8, 8),
            Shape(12, 768, 12, 12, 32768),
            SMOLLM2,
        )
    ],
}
"""Name -> (label of the point, model, what differs in the rows)."""

LARGE = 50_000_000
"""Parameters from which variants are measured one after the other: all at once would not fit into a small machine."""


def curve(name: str, variants: Sequence[str], threads: int, pythons: Mapping[str, Path]) -> list[dict[str, Any]]:
    """A dictionary for each point: its label, tokens, parameters, and the answers of each variant."""
    return [point(*one, variants, threads, pythons) for one in CURVES[name]]


def point(
    label: str,
    shape: Shape,
    differs: Mapping[str, int],
    variants: Sequence[str],
    threads: int,
    pythons: Mapping[str, Path],
) -> dict[str, Any]:
    """One point of a curve."""
    is_large = shape.parameters >= LARGE
    steps = WARM_UP + (1 if is_large else TIMED)
    with tempfile.TemporaryDirectory() as scratch:
        job = made_up_job(Path(scratch), shape, steps, threads, **{**ROWS, **differs})
        if is_large:
            found = alone(job, variants, steps, pythons, "time")
        else:
            found = in_turns(job, dict.fromkeys(variants, steps), pythons)
        return {"label": label, "parameters": shape.parameters, "tokens": sizes(job.batch(0)), "steps": found}
