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

Meter = Callable[[TokenRow], int]
"""Called with one row after the other, tells how many tokens all of them are together as they are laid out."""


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

    def parts(self, rows: Sequence[TokenRow], meter: Callable[[], Meter]) -> list[slice]:
        """Consecutive parts, as few as there can be.

        Args:
            rows: in their order.
            meter: gives one that begins at 0.
        """
        starts, together = [0][: len(rows)], meter()
        for place, row in enumerate(rows):
            number, tokens = place - starts[-1] + 1, together(row)
            is_full = number > self.rows if self.tokens is None else tokens > self.tokens
            if is_full and number > 1:
                starts, together = [*starts, place], meter()
                together(row)
        return [slice(start, stop) for start, stop in pairwise([*starts, len(rows)])]

    def by_length(self, rows: Sequence[TokenRow], meter: Callable[[], Meter]) -> list[tuple[TokenRow, ...]]:
        """Rows of like lengths together, the longest first, when no gradient lies beside them yet.

        Args:
            rows: in any order, which is kept within a part.
            meter: gives one that begins at 0.
        """
        order = list(chain.from_iterable(_by_prompt(rows)))
        parts = self.parts([rows[place] for place in order], meter)
        return [tuple(rows[place] for place in sorted(order[part])) for part in parts]


def _by_prompt(rows: Sequence[TokenRow]) -> list[list[int]]:
    """Places of the rows, those of one prompt together, which may be computed once for all of them; longest first."""
    groups: dict[bytes, list[int]] = {}
    for place in sorted(range(len(rows)), key=lambda place: -rows[place].num_tokens):
        groups.setdefault(rows[place].prompt.tobytes(), []).append(place)
    return list(groups.values())


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

        The processes wait for the slowest, so each gets about as many tokens: the longest rows are dealt to one process
        after the other, the next ones in the opposite order, and so on. Rows of one prompt stay together where there
        are as many prompts for each process; otherwise the numbers of rows differ by at most one.
        """
        groups = _by_prompt(rows)
        if len(groups) % num_processes:
            groups = [[place] for place in sorted(range(len(rows)), key=lambda place: -rows[place].num_tokens)]
        dealt = zip(groups, cycle(chain(range(num_processes), reversed(range(num_processes)))), strict=False)
        mine = sorted(place for group, taker in dealt if taker == process for place in group)
        return cls(tuple(rows[place] for place in mine)) if mine else cls(tuple(rows[:1]), factor=0.0)

    def micro_batches(self, cut: Cut, meter: Callable[[], Meter]) -> list[tuple[TokenRow, ...]]:
        """The rows as they go through the model."""
        return cut.by_length(self.rows, meter)


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
