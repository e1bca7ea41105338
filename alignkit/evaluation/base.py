"""What every measure shares: what it looks at, what it says of each row, and the numbers that come of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from alignkit.evaluation.settings import LooksAt
from alignkit.evaluation.summary import Records, Summary
from alignkit.registry import Component
from alignkit.scores import Sees

if TYPE_CHECKING:
    from torch import Tensor

    from alignkit.evaluation.scene import HeldOut, Scene

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Value:
    """A number of `eval.json`; `NAME_se` is its standard error.

    Attributes:
        name: its key.
        summary: how it comes of the records.
        label: what a report calls it, with its unit; None keeps it out of reports.
        digits: after the point, in a report.
        better: which of two runs' numbers is the better one; None where that cannot be said, such as of a KL.
    """

    name: str
    summary: Summary
    label: str | None = None
    digits: int = 3
    better: Better | None = None


class Measure(Component):
    """Base of the measures.

    One method says something of each row of a batch; `values` says what numbers come of that, and a report shows those
    that have a label. What is said goes to `eval_rows.jsonl` or `samples.jsonl`, the numbers to `eval.json`.
    """

    looks_at: ClassVar[LooksAt] = "rows"
    """What the batches are taken from, and where its records go."""

    values: ClassVar[tuple[Value, ...]] = ()
    """The numbers, in the order of a report."""

    @abstractmethod
    def per_row(self, held_out: HeldOut) -> Sequence[Mapping[str, Any]]:
        """For each row of the batch name -> number, flag or text, empty where there is nothing to say.

        A summary finds its values by these names. `row`, the place of the row, is added.
        """

    def weighs(self, scene: Scene) -> bool:
        """Whether `held_out.scores` must have token weights; they cost what they cost in training."""
        return False

    def count(self, scene: Scene) -> int:
        """How many of the first held-out rows it wants; where another measure wants more, it is asked of all those."""
        return scene.settings.most(self.looks_at)

    def misfit(self, gives: Sees, *, on_world: bool) -> str | None:
        """Why it has nothing to say of what a trainer gives, or of other data than the built-in world's; or None."""
        return None

    # --- what comes of the records ---

    def counts(self, records: Records) -> dict[str, float]:
        """Numbers of rows, which go to `eval.json` without an error."""
        return {}

    def notes(self, after: Mapping[str, float]) -> Iterator[str]:
        """What is said below the table, from the values of `eval.json` after training."""
        yield from ()

    def summarised(self, records: Records) -> dict[str, float]:
        """Names of `eval.json` -> value. Nothing where nothing was measured."""
        found = self.counts(records)
        for value in self.values:
            if (estimate := value.summary.of(records)) is not None:
                found[value.name], found[f"{value.name}_se"] = estimate
        return found

    def changes(self, before: Records, after: Records) -> dict[str, float]:
        """Name -> after - before, and `NAME_se` -> the standard error of that, of the same rows."""
        found: dict[str, float] = {}
        for value in self.values:
            if (estimate := value.summary.change(before, after)) is not None:
                found[value.name], found[f"{value.name}_se"] = estimate
        return found


def by_row(columns: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Name -> [B] values as one mapping per row, in Python's numbers."""
    values = {name: column.tolist() for name, column in columns.items()}
    length = len(next(iter(values.values()), []))
    return [{name: column[b] for name, column in values.items()} for b in range(length)]
