"""Reads the rows of a file, a Hub data set or the built-in world, each with its place for messages."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from alignkit import world
from alignkit.data.config import DataConfig
from alignkit.data.files import ENDINGS, read_file
from alignkit.data.raw import Columns, RawRow, first_line
from alignkit.errors import DataError
from alignkit.lazy import datasets
from alignkit.world.config import WorldConfig

WORLD = "builtin:world"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_WORD = re.compile(r"[\w-][\w.-]*")


def read_source(config: DataConfig, part: Literal["train", "eval"], seed: int, columns: Columns = None) -> list[RawRow]:
    """All rows of `data.train` or `data.eval`; the first `max_rows` of the former.

    Args:
        config: the `data` section.
        part: which of the two.
        seed: of the run, for the built-in world.
        columns: those to read, where a source has them apart; None for all.

    Raises:
        DataError: the source does not exist or cannot be read, or an option does not belong to it.
    """
    name = config.train if part == "train" or config.eval is None else config.eval
    limit = config.max_rows if part == "train" else None
    kind = _kind(part, name)
    if kind == "world":
        rows = _read_world(config.world or WorldConfig(), part, seed)
    elif kind == "file":
        rows = read_file(Path(name), columns, limit)
    else:
        split = config.split or "train" if part == "train" else config.eval_split or "test"
        rows = _read_hub(name, config.subset, split, limit, columns)
    rows = rows[:limit]
    if not rows:
        raise DataError(f"data.{part}: {name} holds no rows")
    return rows


def refuse_misplaced(config: DataConfig) -> None:
    """Stops when a name can mean no source, or an option is given that the named sources have no use for.

    Nothing is read, so that `alignkit validate` can ask.

    Raises:
        DataError: names the option, its value and where it belongs.
    """
    names = [config.train] if config.eval is None else [config.train, config.eval]
    given = ", ".join(dict.fromkeys(names))
    on_hub = {name: _kind(part, name) == "hub" for part, name in zip(("train", "eval"), names, strict=False)}
    misplaced = {
        "split": not on_hub[config.train] and "a Hub data set in data.train",
        "eval_split": not on_hub.get(config.eval or "") and "a Hub data set in data.eval",
        "subset": not any(on_hub.values()) and "a Hub data set",
        "world": WORLD not in names and WORLD,
        "holdout": (config.eval is not None and "runs without data.eval")
        or (config.train == WORLD and "files and Hub data sets; set data.world.eval_pairs instead"),
    }
    for option, owner in misplaced.items():
        value = getattr(config, option)
        if owner and value is not None:
            shown = "given, but" if option == "world" else repr(value)
            undo = f"; set data.{option}: null where it is inherited" if option == "world" else ""
            raise DataError(f"data.{option}: {shown} belongs to {owner}; the data is {given}{undo}")
    if config.eval is not None and config.eval != WORLD and _is_same(config):
        raise DataError(
            f"data.eval: {config.eval!r} is data.train itself, so nothing would be held out; remove data.eval, and "
            "data.holdout rows are kept out of training"
        )


def _is_same(config: DataConfig) -> bool:
    """Whether `train` and `eval` are one source, whatever they are called."""
    if config.train == config.eval:
        return _kind("train", config.train) == "file" or (config.split or "train") == (config.eval_split or "test")
    names = config.train, config.eval or ""
    return all(map(os.path.exists, names)) and os.path.samefile(*names)


def _kind(part: str, name: str) -> Literal["world", "file", "hub"]:
    """What a name means, by its looks and by what is there.

    A word alone is never handed to the datasets library, which reads `json`, `csv` or `pandas` as ways to read whatever
    lies in the working folder; nor is the name of anything that lies there.
    """
    known = f"a file ({', '.join(ENDINGS)}), a Hub data set (owner/name) or {WORLD}"
    if name == WORLD:
        return "world"
    if name.startswith("builtin:"):
        raise DataError(f"data.{part}: unknown data '{name}'; known: {WORLD}")
    if not name.strip():
        raise DataError(f"data.{part}: {name!r} is no name; name {known}")
    if name.removesuffix(".gz").endswith(ENDINGS) or not (_HUB_ID.fullmatch(name) or _WORD.fullmatch(name)):
        return "file"
    if os.path.lexists(name):
        return "file"
    if _HUB_ID.fullmatch(name):
        return "hub"
    near = next((name + ending for ending in ENDINGS if os.path.exists(name + ending)), None)
    hint = f"; did you mean {near}?" if near else ""
    raise DataError(f"data.{part}: {name!r} is no file, and a word alone names no data set; name {known}{hint}")


def _read_hub(name: str, subset: str | None, split: str, limit: int | None, columns: Columns) -> list[RawRow]:
    label = f"Hub data set '{name}', subset {subset or 'none'}, split {split}"
    try:
        table = datasets.load_dataset(name, subset, split=split)
        if limit is not None:
            table = table.select(range(min(limit, len(table))))
        names = table.column_names
        read = [name for name in names if columns is None or name in columns]
        others = tuple(name for name in names if name not in read)
        # Without any column a table has no rows either.
        values = table.select_columns(read).to_list() if read else [{}] * len(table)
    except Exception as error:  # downloads, builders and decoders raise what they like, with no base in common
        raise DataError(
            f"{label}: {first_line(error)}; check the id, the network, or give a local file in its place"
        ) from error
    return [RawRow(index, f"{name}:row {index + 1}", value, others=others) for index, value in enumerate(values)]


def _read_world(config: WorldConfig, part: Literal["train", "eval"], seed: int) -> list[RawRow]:
    rows = world.generate(config, part, seed)
    return [
        RawRow(index, f"{WORLD}:{part} row {index + 1}", _world_fields(row), critical=row.critical)
        for index, row in enumerate(rows)
    ]


def _world_fields(row: world.WorldRow) -> dict[str, object]:
    """The columns of a world row; a response's score is its true reward."""
    texts = {"chosen": row.chosen, "rejected": row.rejected}
    scores = {f"score_{name}": world.reward(row.prompt, text) for name, text in texts.items()}
    return {"prompt": row.prompt, **texts, "gold": row.gold, **scores}
