"""Which micro-batches a run makes, and which of them take most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alignkit.data.rows import TokenRow
from alignkit.loop.config import TrainingConfig
from alignkit.loop.order import DataOrder, planned_steps
from alignkit.models.layout import Layout

MOST_LOOKED_AT = 20_000
"""Micro-batches that are looked at; a longer run makes more of the same kind."""

Rows = Sequence[TokenRow]


@dataclass(frozen=True)
class Laid:
    """How many tokens a batch has once it is laid out.

    Attributes:
        layout: of the rows.
        most_anchor: most tokens of an anchor that is a response of its own; 0 without.
        ends: whether an anchor is presumed to end where the row's longest response does; else it goes on to the most.
    """

    layout: Layout
    most_anchor: int = 0
    ends: bool = True

    def anchor(self, row: TokenRow) -> int:
        """Tokens of a row's anchor."""
        longest = max(map(len, row.responses.values()), default=self.most_anchor)
        return min(self.most_anchor, longest) if self.ends else self.most_anchor

    def shape(self, rows: Rows) -> tuple[int, int]:
        """(X, L) of the model's input, padding included."""
        sizes = [[*map(len, row.responses.values()), *([self.anchor(row)] if self.most_anchor else [])] for row in rows]
        if self.layout == "packed":
            prompts = {row.prompt.tobytes(): len(row.prompt) for row in rows}  # equal ones lie there once
            return 1, sum(prompts.values()) + sum(map(sum, sizes))
        if self.layout == "shared":
            return len(rows), max(len(row.prompt) + sum(size) for row, size in zip(rows, sizes, strict=True))
        longest = max(len(row.prompt) + max(size) for row, size in zip(rows, sizes, strict=True))
        return sum(map(len, sizes)), longest

    def places(self, rows: Rows) -> int:
        """X x L: what most activations grow with."""
        num_rows, length = self.shape(rows)
        return num_rows * length

    def predicted(self, rows: Rows) -> int:
        """Response tokens: what logits grow with."""
        return sum(sum(map(len, row.responses.values())) + self.anchor(row) for row in rows)

    def largest(self, batches: Sequence[Rows]) -> list[Rows]:
        """The one with most places, and the one with most response tokens where those are clearly more."""
        wide, long = max(batches, key=self.places), max(batches, key=self.predicted)
        return [wide, long] if self.predicted(long) > 1.1 * self.predicted(wide) else [wide]

    def share_of_largest(self, batches: Sequence[Rows]) -> float:
        """Mean number of places, as a share of the most."""
        places = [self.places(rows) for rows in batches]
        return sum(places) / len(places) / max(places)


def micro_batches(rows: Rows, config: TrainingConfig, seed: int, num_processes: int = 1) -> list[Rows]:
    """Those of the first process, in the order in which a run makes them; the first `MOST_LOOKED_AT`."""
    order, found = DataOrder(rows, config.batch_size, seed), list[Rows]()
    for step in range(planned_steps(config, len(rows))):
        found += order.share(step, 0, num_processes).micro_batches(config.micro_batch_size)
        if len(found) >= MOST_LOOKED_AT:
            break
    return found


def batches(rows: Rows, size: int) -> Iterator[Rows]:
    """The rows in their order, `size` at a time."""
    return (rows[start : start + size] for start in range(0, len(rows), size))
