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
        if self.layout == "packed":
            prompts = {row.prompt.tobytes(): len(row.prompt) for row in rows}  # equal ones lie there once
            return 1, sum(prompts.values()) + sum(map(sum, sizes))
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

    def meter(self) -> Meter:
        """Counts the places of rows that are called one after the other."""
        return Meter(self)


class Meter:
    """`Laid.places` of all rows that it was called with.

    Args:
        laid: how they are laid out.
    """

    def __init__(self, laid: Laid) -> None:
        self._laid = laid
        self._prompts: set[bytes] = set()
        self._rows = self._longest = self._sum = 0

    def __call__(self, row: TokenRow) -> int:
        """Places of this row and those before it."""
        prompt, places = row.prompt.tobytes(), self._laid.places([row])
        self._rows, self._longest = self._rows + 1, max(self._longest, places)
        self._sum += places - (len(row.prompt) if prompt in self._prompts else 0)
        self._prompts.add(prompt)
        return self._sum if self._laid.layout == "packed" else self._rows * self._longest
