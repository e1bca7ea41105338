"""Rows of a data set of the Hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from alignkit.data.raw import Columns, RawRow, first_line
from alignkit.data.sources.base import Part, Source
from alignkit.errors import DataError, printable, shown
from alignkit.lazy import datasets

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


class Hub(Source):
    """The rows of a data set of the Hub.

    `data.train: owner/name` is short for `{name: hub, id: owner/name}`, with `data.subset` and `data.split` beside it.
    """

    id: str
    """Of the data set: owner/name."""

    subset: str | None = None
    """Its configuration name, for a data set that has several."""

    split: str | None = None
    """The split that is read; null means train in `data.train`, and test in `data.eval`."""

    @field_validator("id")
    @classmethod
    def _is_on_hub(cls, value: str) -> str:
        """The datasets library reads whatever lies in a folder of this name, and takes words alone for its readers."""
        if not HUB_ID.fullmatch(value):
            raise PydanticCustomError("hub_id", "{said}", {"said": f"expected owner/name, got {shown(value)}"})
        if os.path.lexists(value):
            said = f"{shown(value)} lies in the working folder, and would be read in place of the data set"
            raise PydanticCustomError("hub_id", "{said}", {"said": f"{said}; rename it, or take source 'file'"})
        return value

    @property
    def label(self) -> str:
        return self.id

    def read(self, part: Part, seed: int, limit: int | None, columns: Columns) -> Iterable[RawRow]:
        split = self.split or {"train": "train", "eval": "test"}[part]
        try:
            table = datasets.load_dataset(self.id, self.subset, split=split)
            if limit is not None:
                table = table.select(range(min(limit, len(table))))
            names = table.column_names
            read = [name for name in names if columns is None or name in columns]
            others = tuple(name for name in names if name not in read)
            # Without any column a table has no rows either.
            values = table.select_columns(read).to_list() if read else [{}] * len(table)
        except Exception as error:  # downloads, builders and decoders raise what they like, with no base in common
            raise DataError(
                f"Hub data set '{self.id}', subset {self.subset or 'none'}, split {split}: {first_line(error)}; check "
                "the id, the network, or give a local file in its place"
            ) from error
        return [RawRow(index, f"{self.id}:row {index + 1}", value, others=others) for index, value in enumerate(values)]

    def is_same(self, other: Source) -> bool:
        return self == other and self.split is not None

    def elsewhere(self) -> str:
        return f"Hub data set {printable(self.id)}"
