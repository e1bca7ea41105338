"""Rows of a data set of the Hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from alignkit.data.raw import Columns, RawRow, first_line
from alignkit.data.sources.base import Part, Source
from alignkit.errors import DataError, printable, shown
from alignkit.lazy import datasets, huggingface_hub

if TYPE_CHECKING:
    from datasets import Dataset

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")

_READ: dict[tuple[str, str | None, str | None], str | None] = {}
"""Id, subset and revision of each data set -> the commit that was read last."""


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

    revision: str | None = Field(None, min_length=1)
    """Branch, tag or commit; null takes the newest. Give a commit to make a run repeatable."""

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
            table = datasets.load_dataset(self.id, self.subset, split=split, revision=self.revision)
            self._note_commit(_commit_of(table))
            if limit is not None:
                table = table.select(range(min(limit, len(table))))
            names = table.column_names
            read = [name for name in names if columns is None or name in columns]
            others = tuple(name for name in names if name not in read)
            # Without any column a table has no rows either.
            values = table.select_columns(read).to_list() if read else [{}] * len(table)
        except DataError:
            raise
        except Exception as error:  # downloads, builders and decoders raise what they like, with no base in common
            raise DataError(
                f"Hub data set '{self.id}', subset {self.subset or 'none'}, split {split}: {first_line(error)}; check "
                "the id, the network, or give a local file in its place"
            ) from error
        return [RawRow(index, f"{self.id}:row {index + 1}", value, others=others) for index, value in enumerate(values)]

    @property
    def commit(self) -> str | None:
        """The commit that was read last, 40 hex digits; None before, and where the cache does not tell."""
        return _READ.get((self.id, self.subset, self.revision))

    def _note_commit(self, commit: str | None) -> None:
        """Without the Hub the datasets library takes the newest of its cache, whatever revision is asked for."""
        wanted = self.revision if _COMMIT.fullmatch(self.revision or "") else self._last_seen()
        if wanted is not None and commit not in (None, wanted):
            raise DataError(
                f"Hub data set '{self.id}': revision {shown(self.revision)} is commit {wanted}, but commit {commit} is "
                "what the cache holds and the Hub cannot be reached; try again with a network"
            )
        _READ[self.id, self.subset, self.revision] = commit

    def _last_seen(self) -> str | None:
        """The commit that the revision was when the Hub last answered; None where that is not known."""
        if self.revision is None:
            return None
        folder = huggingface_hub.file_download.repo_folder_name(repo_id=self.id, repo_type="dataset")
        noted = Path(huggingface_hub.constants.HF_HUB_CACHE) / folder / "refs" / self.revision
        return noted.read_text(encoding="utf-8").strip() if noted.is_file() else None

    def is_same(self, other: Source) -> bool:
        return self == other and self.split is not None

    def elsewhere(self) -> str:
        return f"Hub data set {printable(self.id)}"


def _commit_of(table: Dataset) -> str | None:
    """The commit that a table was made from, by which the datasets library names the folder of its cache."""
    folders = {Path(file["filename"]).parent.name for file in table.cache_files}
    found = folders.pop() if len(folders) == 1 else ""
    return found if _COMMIT.fullmatch(found) else None
