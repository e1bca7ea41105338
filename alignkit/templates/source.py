"""Where rows come from."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from alignkit.data.raw import Columns, RawRow
from alignkit.data.sources.base import Part, Source


class Template(Source):
    """Sums of small numbers, with a right and a wrong answer."""

    rows: int = Field(100, gt=0)
    """How many."""

    def read(self, part: Part, seed: int, limit: int | None, columns: Columns) -> Iterable[RawRow]:
        for index in range(self.rows if limit is None else min(self.rows, limit)):
            first, second = index % 10, index // 10 % 10
            fields: dict[str, object] = {
                "prompt": f"{first} + {second} =",
                "chosen": f" {first + second}",
                "rejected": f" {first + second + 1}",
            }
            yield RawRow(index, f"{self.name}:row {index + 1}", fields)
