"""Which micro-batches a run makes, and which of them take most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from alignkit.data.rows import TokenRow
from alignkit.loop.config import TrainingConfig
from alignkit.loop.order import Cut, DataOrder, Meter, planned_steps

MOST_LOOKED_AT = 20_000
"""Micro-batches that are looked at; a longer run makes more of the same kind."""

Rows = Sequence[TokenRow]


@dataclass(frozen=True)
class MicroBatches:
    """Those of the first process; the first `MOST_LOOKED_AT`.

    Attributes:
        first: the first of each step, beside which there is no gradient yet.
        later: the others.
    """

    first: Sequence[Rows]
    later: Sequence[Rows]

    @property
    def all(self) -> list[Rows]:
        """In no order."""
        return [*self.first, *self.later]

    @property
    def per_step(self) -> float:
        """How many a step has, in the mean."""
        return len(self.all) / len(self.first)


def micro_batches(
    rows: Rows, config: TrainingConfig, seed: int, meter: Callable[[], Meter], num_processes: int = 1
) -> MicroBatches:
    """The micro-batches that a run makes.

    Args:
        rows: the training rows.
        config: how the loop runs.
        seed: of the order.
        meter: counts tokens, as laid out.
        num_processes: of which the first is looked at.
    """
    order, cut = DataOrder(rows, config.batch_size, seed), Cut(config.micro_batch_size, config.micro_batch_tokens)
    first, later = list[Rows](), list[Rows]()
    for step in range(planned_steps(config, len(rows))):
        found = order.share(step, 0, num_processes).micro_batches(cut, meter)
        first.append(found[0])
        later += found[1:]
        if len(first) + len(later) >= MOST_LOOKED_AT:
            break
    return MicroBatches(first, later)


def batches(rows: Rows, size: int) -> Iterator[Rows]:
    """The rows in their order, `size` at a time."""
    return (rows[start : start + size] for start in range(0, len(rows), size))
