"""Which rows an optimizer step sees, a function of (seed, step) alone, and how they are worked on.

Nothing is stored, so a resume, an evaluation or another number of processes cannot change the order of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, cycle, pairwise
from typing import TYPE_CHECKING, TypeVar

from alignkit.data.rows import TokenRow
from alignkit.lazy import numpy as np
from alignkit.loop.config import TrainingConfig
from alignkit.seeds import derive

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

SizeOf = Callable[[TokenRow], int]
"""Tokens of a row, as it is laid out."""


@lru_cache(maxsize=4)  # `prepare` looks ahead, often into the next epoch
def epoch_order(num_rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """[num_rows] row numbers in the order of this epoch (from 0); each exactly once."""
    return np.random.default_rng(derive(seed, "order", epoch)).permutation(num_rows)


def rows_in_order(rows: Sequence[TokenRow], seed: int) -> list[TokenRow]:
    """All rows, in the order in which the first epoch sees them."""
    return [rows[i] for i in epoch_order(len(rows), seed, 0)]


def planned_steps(config: TrainingConfig, num_rows: int, updates: int = 1) -> int:
    """Optimizer steps of the whole run; a part of an epoch is rounded to the nearest step, at least 1.

    Args:
        config: how the loop runs.
        num_rows: training rows.
        updates: optimizer steps that each batch is there for.
    """
    if config.steps is not None:
        return config.steps
    return max(1, round((config.epochs or 1.0) * math.ceil(num_rows / config.batch_size))) * updates


def part_of(items: Sequence[T], process: int, num_processes: int) -> Sequence[T]:
    """The consecutive part that one process works on; sizes differ by at most one."""
    return items[process * len(items) // num_processes : (process + 1) * len(items) // num_processes]


@dataclass(frozen=True)
class Cut:
    """How many rows go through the model at once.

    Attributes:
        rows: most of them.
        tokens: most tokens, padding included, instead; a row that is longer goes alone. None counts rows.
    """

    rows: int
    tokens: int | None = None

    def parts(self, sizes: Sequence[int]) -> list[slice]:
        """Consecutive parts, as few as there can be.

        Args:
            sizes: tokens of each row, as laid out.
        """
        starts, longest = [0][: len(sizes)], 0
        for place, size in enumerate(sizes):
            longest, number = max(longest, size), place - starts[-1] + 1
            is_full = number > self.rows if self.tokens is None else number * longest > self.tokens
            if is_full and number > 1:
                starts, longest = [*starts, place], size
        return [slice(start, stop) for start, stop in pairwise([*starts, len(sizes)])]

    def by_length(self, rows: Sequence[TokenRow], size: SizeOf) -> list[tuple[TokenRow, ...]]:
        """Rows of like lengths together, the longest first, when no gradient lies beside them yet.

        Args:
            rows: in any order, which is kept within a part.
            size: tokens of a row, as laid out.
        """
        sizes = [size(row) for row in rows]
        order = _longest_first(sizes)
        parts = self.parts([sizes[number] for number in order])
        return [tuple(rows[number] for number in sorted(order[part])) for part in parts]


def _longest_first(sizes: Sequence[int]) -> list[int]:
    """Places of the sizes, the largest first; of equal ones the earlier first."""
    return sorted(range(len(sizes)), key=lambda place: -sizes[place])


@dataclass(frozen=True)
class Share:
    """One process's part of a step.

    Attributes:
        rows: never empty, because every process must take part in the backward pass.
        factor: 1; or 0 for a process that got nothing of a small last batch and only keeps the others company.
    """

    rows: tuple[TokenRow, ...]
    factor: float = 1.0

    @classmethod
    def of(cls, rows: Sequence[TokenRow], process: int, num_processes: int) -> Share:
        """Its part, or a row to keep the others company with.

        Numbers of rows differ by at most one, and numbers of tokens by little, as the processes wait for the slowest:
        the longest rows are dealt to one process after the other, the next ones in the opposite order, and so on.
        """
        there, back = range(num_processes), range(num_processes - 1, -1, -1)
        dealt = zip(_longest_first([row.num_tokens for row in rows]), cycle(chain(there, back)), strict=False)
        mine = sorted(number for number, taker in dealt if taker == process)
        return cls(tuple(rows[number] for number in mine)) if mine else cls(tuple(rows[:1]), factor=0.0)

    def micro_batches(self, cut: Cut, size: SizeOf) -> list[tuple[TokenRow, ...]]:
        """The rows as they go through the model."""
        return cut.by_length(self.rows, size)


@dataclass(frozen=True)
class DataOrder:
    """Cuts each epoch's order into batches; the last batch of an epoch may be smaller.

    Attributes:
        rows: all of them.
        batch_size: rows of a batch.
        seed: of the order.
        updates: optimizer steps, one after the other, that each batch is there for.
    """

    rows: Sequence[TokenRow]
    batch_size: int
    seed: int
    updates: int = 1

    @property
    def batches_per_epoch(self) -> int:
        """Batches that hold every row once."""
        return math.ceil(len(self.rows) / self.batch_size)

    def batch(self, step: int) -> tuple[TokenRow, ...]:
        """The rows of optimizer step `step` (from 0), over all processes."""
        epoch, place = divmod(step // self.updates, self.batches_per_epoch)
        order = epoch_order(len(self.rows), self.seed, epoch)
        return tuple(self.rows[i] for i in order[place * self.batch_size : (place + 1) * self.batch_size])

    def share(self, step: int, process: int, num_processes: int) -> Share:
        """The part of the batch that one process works on."""
        return Share.of(self.batch(step), process, num_processes)

    def epochs_after(self, num_steps: int) -> float:
        """Passes over the rows that `num_steps` optimizer steps make."""
        batches, part = divmod(num_steps, self.updates)
        epochs, place = divmod(batches, self.batches_per_epoch)
        before = place * self.batch_size
        current = min(self.batch_size, len(self.rows) - before)
        return epochs + (before + current * part / self.updates) / len(self.rows)
