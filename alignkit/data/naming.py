"""From what `data.train` and `data.eval` say to sources and their rows. Text is short for a source; only here."""

from __future__ import annotations

import os
import re
from itertools import islice
from typing import Literal

from alignkit.data.config import DataConfig
from alignkit.data.files import ENDINGS
from alignkit.data.raw import Columns, RawRow
from alignkit.data.sources import WORLD
from alignkit.data.sources.base import Part, Source
from alignkit.data.sources.file import File
from alignkit.data.sources.hub import HUB_ID, Hub
from alignkit.data.sources.world import World
from alignkit.errors import DataError
from alignkit.world.config import WorldConfig

_WORD = re.compile(r"[\w-][\w.-]*")


def sources_of(config: DataConfig) -> dict[Part, Source]:
    """The source of `data.train`, and that of `data.eval` where it is given.

    Raises:
        DataError: a name can mean none.
    """
    found: dict[Part, Source] = {"train": _source(config, "train", config.train)}
    if config.eval is not None:
        found["eval"] = _source(config, "eval", config.eval)
    return found


def source_of(config: DataConfig, part: Part) -> Source:
    """What is read for one of the two; without `data.eval` it is `data.train` for both.

    Raises:
        DataError: a name can mean none.
    """
    found = sources_of(config)
    return found.get(part, found["train"])


def has_own_eval(config: DataConfig) -> bool:
    """Whether held-out rows are read, and not taken out of the training rows."""
    return config.eval is not None or source_of(config, "train").has_own_eval


def on_world(config: DataConfig) -> bool:
    """Whether all rows are the built-in world's; not where a name can mean no source."""
    try:
        return all(source.on_world for source in sources_of(config).values())
    except DataError:
        return False


def commits(config: DataConfig) -> dict[str, str | None]:
    """`data.train`, `data.eval` -> the commit of the Hub's data set that was read; None where that is not known.

    What is not the Hub's is left out.
    """
    found = sources_of(config)
    return {f"data.{part}": source.commit for part, source in found.items() if isinstance(source, Hub)}


def read_source(config: DataConfig, part: Part, seed: int, columns: Columns = None) -> list[RawRow]:
    """All rows of `data.train` or `data.eval`; the first `max_rows` of the former.

    Args:
        config: the `data` section.
        part: which of the two.
        seed: of the run, for a source that draws its rows.
        columns: those to read, where a source has them apart; None for all.

    Raises:
        DataError: the source does not exist or cannot be read, or an option does not belong to it.
    """
    source = source_of(config, part)
    limit = config.max_rows if part == "train" else None
    rows = list(islice(source.read(part, seed, limit, columns), limit))
    if not rows:
        raise DataError(f"data.{part}: {source.label} holds no rows")
    for place, row in enumerate(rows):
        if row.index != place:
            raise DataError(
                f"data.{part}: source '{source.name}' gave row {row.where} the number {row.index}, expected {place}; "
                "a source numbers its rows from 0"
            )
    return rows


def refuse_misplaced(config: DataConfig) -> None:
    """Stops when a name can mean no source, or an option is given that the named sources have no use for.

    Nothing is read, so that `alignkit validate` can ask.

    Raises:
        DataError: names the option, its value and where it belongs.
    """
    sources = sources_of(config)
    named = [given if isinstance(given, str) else f"{{name: {given.name}}}" for given in config.given]
    on_hub = {
        part: isinstance(source, Hub) and isinstance(given, str)
        for (part, source), given in zip(sources.items(), config.given, strict=True)
    }
    misplaced = {
        "split": not on_hub["train"] and "a Hub data set in data.train",
        "eval_split": not on_hub.get("eval") and "a Hub data set in data.eval",
        "subset": not any(on_hub.values()) and "a Hub data set",
        "revision": not any(on_hub.values()) and "a Hub data set",
        "world": WORLD not in named and WORLD,
        "holdout": (config.eval is not None and "runs without data.eval")
        or (config.train == WORLD and "files and Hub data sets; set data.world.eval_pairs instead")
        or (sources["train"].has_own_eval and "sources without held-out rows of their own"),
    }
    for option, owner in misplaced.items():
        value = getattr(config, option)
        if owner and value is not None:
            shown = "given, but" if option == "world" else repr(value)
            undo = f"; set data.{option}: null where it is inherited" if option == "world" else ""
            own = "" if option == "holdout" or all(isinstance(given, str) for given in config.given) else _OWN_OPTIONS
            data = ", ".join(dict.fromkeys(named))
            raise DataError(f"data.{option}: {shown} belongs to {owner}; the data is {data}{own}{undo}")
    if "eval" in sources and sources["train"].is_same(sources["eval"]):
        raise DataError(
            f"data.eval: {sources['eval'].label!r} is data.train itself, so nothing would be held out; remove "
            "data.eval, and data.holdout rows are kept out of training"
        )


_OWN_OPTIONS = ", whose options stand in its mapping"


def _source(config: DataConfig, part: Part, given: str | Source) -> Source:
    """A source as it is given, or the one that a text stands for, with the section's options for it."""
    if isinstance(given, Source):
        return given
    kind = _kind(part, given)
    if kind == "world":
        return World(name=kind, **dict(config.world or WorldConfig()))
    if kind == "file":
        return File(name=kind, path=given)
    split = config.split or "train" if part == "train" else config.eval_split or "test"
    return Hub(name=kind, id=given, subset=config.subset, split=split, revision=config.revision)


def _kind(part: Part, name: str) -> Literal["world", "file", "hub"]:
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
    if name.endswith((*ENDINGS, ".gz")) or not (HUB_ID.fullmatch(name) or _WORD.fullmatch(name)):
        return "file"
    if os.path.lexists(name):
        return "file"
    if HUB_ID.fullmatch(name):
        return "hub"
    near = next((name + ending for ending in ENDINGS if os.path.exists(name + ending)), None)
    hint = f"; did you mean {near}?" if near else ""
    raise DataError(f"data.{part}: {name!r} is no file, and a word alone names no data set; name {known}{hint}")
