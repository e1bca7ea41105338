"""Rows of the built-in world."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from alignkit import world
from alignkit.data.raw import Columns, RawRow
from alignkit.data.sources import WORLD
from alignkit.data.sources.base import Part, Source
from alignkit.world.config import WorldConfig


class World(WorldConfig, Source):
    """Generated pairs whose true reward and deciding words are known.

    `data.train: builtin:world` is short for `{name: world}`, with the options in `data.world`.
    """

    has_own_eval: ClassVar[bool] = True
    plants: ClassVar[bool] = True
    on_world: ClassVar[bool] = True

    @property
    def label(self) -> str:
        return WORLD

    def read(self, part: Part, seed: int, limit: int | None, columns: Columns) -> Iterable[RawRow]:
        rows = world.generate(self, part, seed)
        return [
            RawRow(index, f"{WORLD}:{part} row {index + 1}", _fields(row), critical=row.critical)
            for index, row in enumerate(rows)
        ]


def _fields(row: world.WorldRow) -> dict[str, object]:
    """The columns of a row; a response's score is its true reward."""
    texts = {"chosen": row.chosen, "rejected": row.rejected}
    scores = {f"score_{name}": world.reward(row.prompt, text) for name, text in texts.items()}
    return {"prompt": row.prompt, **texts, "gold": row.gold, **scores}
