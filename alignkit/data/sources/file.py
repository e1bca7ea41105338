"""Rows of one local file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from alignkit.data.files import no_file, read_file
from alignkit.data.raw import Columns, RawRow
from alignkit.data.sources.base import Part, Source


class File(Source):
    """The rows of a file: .jsonl, .json, .csv, each also with .gz, or .parquet.

    `data.train: pairs.jsonl` is short for `{name: file, path: pairs.jsonl}`.
    """

    path: str
    """Where it lies; relative paths start from the working folder."""

    @property
    def label(self) -> str:
        return self.path

    def read(self, part: Part, seed: int, limit: int | None, columns: Columns) -> Iterable[RawRow]:
        return read_file(Path(self.path), columns, limit)

    def is_same(self, other: Source) -> bool:
        if not isinstance(other, File):
            return False
        paths = self.path, other.path
        return self.path == other.path or (all(map(os.path.exists, paths)) and os.path.samefile(*paths))

    def missing(self) -> str | None:
        return no_file(self.path)
