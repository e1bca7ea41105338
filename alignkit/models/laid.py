"""How many tokens a batch has once it is laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alignkit.data.rows import TokenRow
from alignkit.models.layout import Layout


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

    def shape(self, rows: Sequence[TokenRow]) -> tuple[int, int]:
        """(X, L) of the model's input, padding included."""
        sizes = [[*map(len, row.responses.values()), *([self.anchor(row)] if self.most_anchor else [])] for row in rows]
        if self.layout == "shared":
            return len(rows), max(len(row.prompt) + sum(size) for row, size in zip(rows, sizes, strict=True))
        longest = max(len(row.prompt) + max(size) for row, size in zip(rows, sizes, strict=True))
        return sum(map(len, sizes)), longest

    def places(self, rows: Sequence[TokenRow]) -> int:
        """X x L: what most activations grow with."""
        num_rows, length = self.shape(rows)
        return num_rows * length

    def predicted(self, rows: Sequence[TokenRow]) -> int:
        """Response tokens: what logits grow with."""
        return sum(sum(map(len, row.responses.values())) + self.anchor(row) for row in rows)

    def largest(self, batches: Sequence[Sequence[TokenRow]]) -> list[Sequence[TokenRow]]:
        """The one with most places, and the one with most response tokens where those are clearly more."""
        wide, long = max(batches, key=self.places), max(batches, key=self.predicted)
        return [wide, long] if self.predicted(long) > 1.1 * self.predicted(wide) else [wide]

    def mean_places(self, batches: Sequence[Sequence[TokenRow]]) -> float:
        """Of a batch, in the mean."""
        return sum(map(self.places, batches)) / len(batches)
