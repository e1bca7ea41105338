"""Runs drawn again: seeds with replacement, and inside each seed its prompts, both the same for all points.

What points share (an easy set of prompts, a lucky data order) goes up and down in all of them together, so it leaves
their differences alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alignkit.frontier.points import Measured
from alignkit.lazy import numpy as np
from alignkit.seeds import derive

if TYPE_CHECKING:
    from numpy import ndarray

SAMPLES: Final = 2000
"""How many times everything is drawn again."""


def drawn_again(measured: Measured, *, seeds: bool, samples: int = SAMPLES) -> ndarray:
    """[B, S, 2, N] reward and cost of each run, B times.

    Args:
        measured: what is drawn from.
        seeds: draw the seeds too; else the trained models stay as they are and their prompts alone are drawn.
        samples: B.
    """
    count = len(measured.seeds)
    generator = np.random.default_rng(derive(0, "frontier", int(seeds)))
    chosen = generator.integers(count, size=(samples, count)) if seeds else np.tile(np.arange(count), (samples, 1))
    found: ndarray = np.empty((samples, *measured.means.shape))
    for place in range(count):
        for seed in range(count):
            rows = np.flatnonzero(chosen[:, place] == seed)
            found[rows, place] = _prompts(measured.sums[seed], measured.counts[seed], len(rows), generator)
    return found


def _prompts(sums: ndarray, counts: ndarray, samples: int, generator: np.random.Generator) -> ndarray:
    """[B, 2, N] means over prompts drawn with replacement."""
    number = len(counts)
    times = generator.multinomial(number, np.full(number, 1 / number), size=samples).astype(float)
    added = times @ sums.reshape(number, -1)
    means: ndarray = (added / (times @ counts)[:, None]).reshape(samples, *sums.shape[1:])
    return means
