"""Benchmarks whose items are the rows of a local file: reading them, and taking some."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from alignkit.benchmarks.base import Benchmark
from alignkit.benchmarks.decoding import Chat
from alignkit.benchmarks.items import Item
from alignkit.data.files import no_file, read_file
from alignkit.data.raw import RawRow
from alignkit.errors import BenchmarkError, printable, shown
from alignkit.seeds import derive

NewTokens = Annotated[int, Field(gt=0, le=131_072)]
"""Longest response; tokens."""


class FromFile(Benchmark):
    """Base of the benchmarks that read a file. `item_of` makes an item of a row, or says what is wrong with it."""

    official: ClassVar[str] = ""
    """Where the official rows can be had, in words."""

    data: str = Field(min_length=1)
    """File with the rows: .jsonl, .json, .csv, each also with .gz, or .parquet; relative paths start from the working
    folder."""

    limit: int | None = Field(None, gt=0)
    """Items that are asked, a sample drawn with `seed`; null for all."""

    chat: Chat = "auto"
    """Whether prompts go through the chat template; auto: where the model's tokenizer has one."""

    def item_of(self, row: RawRow) -> Item:
        """The item of a row.

        Raises:
            BenchmarkError: the row holds none; says where and what.
        """
        raise NotImplementedError

    def missing(self) -> str | None:
        """What to put where, if `data` is not there."""
        return self._missing(self.data)

    def _missing(self, path: str) -> str | None:
        complaint = no_file(path)
        official = f" (official: {self.official})" if self.official else ""
        return f"{complaint}; put the benchmark's rows there{official}" if complaint else None

    def check(self) -> None:
        self.items()

    def items(self) -> Sequence[Item]:
        return self.some(self.read("data", self.data))

    def some(self, items: Sequence[Item]) -> Sequence[Item]:
        """The limit's sample of items, in the order of the file."""
        if self.limit is None or self.limit >= len(items):
            return items
        return [items[place] for place in sorted(self.drawn("items", len(items), self.limit))]

    def drawn(self, what: str, number: int, count: int) -> list[int]:
        """`count` of so many places, in an order of chance."""
        return random.Random(derive(self.seed, f"benchmark {what}")).sample(range(number), count)

    def read(self, key: str, path: str) -> list[Item]:
        """The items of a file, all of them.

        Args:
            key: of the recipe, for messages.
            path: the file.

        Raises:
            BenchmarkError: it is not there, holds no rows, or some row is none of this benchmark.
        """
        whose = f"evaluation.benchmarks.{self.title}.{key}"
        if complaint := self._missing(path):
            raise BenchmarkError(f"{whose}: {complaint}")
        items = []
        for row in read_file(Path(path), None, None):
            if row.unread:
                raise BenchmarkError(f"{row.where}: {printable(row.unread[1])}")
            items.append(self.item_of(row))
        if not items:
            raise BenchmarkError(f"{whose}: {shown(path)} holds no rows")
        names = [item.name for item in items]
        if len(set(names)) < len(names):
            twice = next(item for n, item in enumerate(items) if item.name in names[:n])
            raise BenchmarkError(f"{twice.where}: another row is called {shown(twice.name)} too; names must differ")
        return items


class WithShots(FromFile):
    """Base of those that show solved examples before each question. An item that is asked is never shown."""

    shots: int = Field(0, ge=0, le=100)
    """Solved examples before each question, the same before all of them, drawn with `seed`."""

    train: str | None = Field(None, min_length=1)
    """File that the examples are drawn from; null takes rows of `data`, which are then not asked."""

    def question_of(self, item: Item) -> str:
        """What two rows that are the same question have in common."""
        return str(item.fields["question"])

    def items(self) -> Sequence[Item]:
        """What is asked, each item with the `shots` that are shown before it."""
        shots, asked = self._parted()
        return [replace(item, fields={**item.fields, "shots": shots}) for item in asked]

    def _parted(self) -> tuple[Sequence[Item], Sequence[Item]]:
        """Examples, and what is asked."""
        rows = self.read("data", self.data)
        if not self.shots:
            return [], self.some(rows)
        if self.train is None:
            chosen = set(self.drawn("shots", len(rows), min(self.shots, len(rows))))
            examples = [row for place, row in enumerate(rows) if place in chosen]
            known = {self.question_of(row) for row in examples}
            rest = [row for row in rows if self.question_of(row) not in known]
            return self._enough(examples, self.data, "data", bool(rest)), self.some(rest)
        asked = self.some(rows)
        known = {self.question_of(row) for row in asked}
        pool = [row for row in self.read("train", self.train) if self.question_of(row) not in known]
        places = self.drawn("shots", len(pool), min(self.shots, len(pool)))
        return self._enough([pool[place] for place in places], self.train, "train", True), asked

    def _enough(self, examples: Sequence[Item], path: str, key: str, has_rest: bool) -> Sequence[Item]:
        if len(examples) < self.shots or not has_rest:
            left = "" if has_rest else " and none to ask"
            raise BenchmarkError(
                f"evaluation.benchmarks.{self.title}.{key}: {shown(path)} has {len(examples)} rows for {self.shots} "
                f"shots{left}; lower 'shots', or name a file of other rows with 'train'"
            )
        return examples


def text(row: RawRow, key: str, wanted: str) -> str:
    """The text of a row's column.

    Args:
        row: the row.
        key: the column.
        wanted: what a row holds, for the message.

    Raises:
        BenchmarkError: there is none.
    """
    value = row.fields.get(key)
    if not isinstance(value, str) or not value.strip():
        found = f"got {shown(value, 60)}" if key in row.fields else "which is not there"
        raise BenchmarkError(f"{row.where}: '{key}': expected text, {found}; {wanted}")
    return value
