"""From what `data.train` and `data.eval` say to sources and their rows. Text is short for a source; only here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from alignkit.data.config import PARTS, DataConfig, Share
from alignkit.data.files import ENDINGS
from alignkit.data.raw import Columns, RawRow
from alignkit.data.renaming import Names, renamed, theirs
from alignkit.data.sources import WORLD
from alignkit.data.sources.base import Part, Source
from alignkit.data.sources.file import File
from alignkit.data.sources.hub import HUB_ID, Hub
from alignkit.data.sources.world import World
from alignkit.errors import DataError, shown
from alignkit.world.config import WorldConfig

_WORD = re.compile(r"[\w-][\w.-]*")


@dataclass(frozen=True)
class Named:
    """A source that a recipe names.

    Attributes:
        part: what its rows are for.
        key: where it is named.
        given: what stands there.
        source: what that means.
        share: the rest of what is said of it.
    """

    part: Part
    key: tuple[str | int, ...]
    given: str | Source
    source: Source
    share: Share

    @property
    def place(self) -> str:
        """Where it is named, for messages."""
        return ".".join(map(str, self.key))


def sources_of(config: DataConfig) -> list[Named]:
    """The sources of `data.train`, and those of `data.eval` where it is given.

    Raises:
        DataError: a name can mean none.
    """
    found = []
    for part in PARTS:
        is_list = isinstance(getattr(config, part), tuple)
        for number, share in enumerate(config.shares(part)):
            key = ("data", part, number) if is_list else ("data", part)
            source = _source(config, part, share, ".".join(map(str, key)), is_list=is_list)
            found.append(Named(part, key, share.path, source, share))
    return found


def read_for(config: DataConfig, part: Part) -> list[Named]:
    """What is read for one of the two; without `data.eval` it is `data.train` for both.

    Raises:
        DataError: a name can mean none.
    """
    found = sources_of(config)
    own = [named for named in found if named.part == part]
    return own or [replace(named, part=part) for named in found]


def has_own_eval(config: DataConfig) -> bool:
    """Whether held-out rows are read, and not taken out of the training rows."""
    return config.eval is not None or all(named.source.has_own_eval for named in read_for(config, "train"))


def on_world(config: DataConfig) -> bool:
    """Whether all rows are the built-in world's; not where a name can mean no source."""
    try:
        return all(named.source.on_world for named in sources_of(config))
    except DataError:
        return False


def commits(config: DataConfig) -> dict[str, str | None]:
    """`data.train`, `data.eval` -> the commit of the Hub's data set that was read; None where that is not known.

    What is not the Hub's is left out; of several sources each has its number, as in `data.train.1`.
    """
    return {named.place: named.source.commit for named in sources_of(config) if isinstance(named.source, Hub)}


def read_source(config: DataConfig, named: Named, seed: int, columns: Columns = None) -> list[RawRow]:
    """All rows of a source; the first `max_rows` of one of `data.train`.

    Args:
        config: the `data` section.
        named: the source.
        seed: of the run, for a source that draws its rows.
        columns: those to read, where a source has them apart; None for all.

    Raises:
        DataError: the source does not exist or cannot be read, or an option does not belong to it.
    """
    source, names = named.source, names_of(config, named)
    limit = config.max_rows if named.part == "train" else None
    rows = list(islice(source.read(named.part, seed, limit, theirs(columns, names)), limit))
    if not rows:
        raise DataError(f"{named.place}: {source.label} holds no rows")
    places = set[str]()
    for place, row in enumerate(rows):
        if row.where in places:
            raise DataError(
                f"{named.place}: source '{source.name}' gave two rows the place {shown(row.where)}; each needs its own"
            )
        places.add(row.where)
        if row.index != place:
            raise DataError(
                f"{named.place}: source '{source.name}' gave row {row.where} the number {row.index}, expected {place}; "
                "a source numbers its rows from 0"
            )
    return renamed(rows, names, source.label)


def names_of(config: DataConfig, named: Named) -> Names:
    """What the data of a source calls its columns."""
    return config.columns if named.share.columns is None else named.share.columns


def refuse_misplaced(config: DataConfig) -> None:
    """Stops when a name can mean no source, or an option is given that the named sources have no use for.

    Nothing is read, so that `alignkit validate` can ask.

    Raises:
        DataError: names the option, its value and where it belongs.
    """
    found = sources_of(config)
    given = [f"{{name: {named.given.name}}}" if isinstance(named.given, Source) else named.given for named in found]
    on_hub = {
        part: any(
            isinstance(named.source, Hub) and isinstance(getattr(config, part), str)
            for named in found
            if named.part == part
        )
        for part in PARTS
    }
    misplaced = {
        "split": not on_hub["train"] and "a Hub data set in data.train",
        "eval_split": not on_hub["eval"] and "a Hub data set in data.eval",
        "subset": not any(on_hub.values()) and "a Hub data set",
        "revision": not any(on_hub.values()) and "a Hub data set",
        "world": WORLD not in given and WORLD,
        "holdout": (config.eval is not None and "runs without data.eval")
        or (config.train == WORLD and "files and Hub data sets; set data.world.eval_pairs instead")
        or (has_own_eval(config) and "sources without held-out rows of their own"),
    }
    for option, owner in misplaced.items():
        value = getattr(config, option)
        if owner and value is not None:
            shown = "given, but" if option == "world" else repr(value)
            undo = f"; set data.{option}: null where it is inherited" if option == "world" else ""
            is_short = all(isinstance(getattr(config, named.part), str) for named in found)
            own = "" if option == "holdout" or is_short else _OWN_OPTIONS
            data = ", ".join(dict.fromkeys(given))
            raise DataError(f"data.{option}: {shown} belongs to {owner}; the data is {data}{own}{undo}")
    for named in found:
        _refuse_misplaced_in(named, found)


_OWN_OPTIONS = ", whose options stand in its mapping"


def _refuse_misplaced_in(named: Named, others: Sequence[Named]) -> None:
    """The same for what is said of one source."""
    label = named.source.label
    for option in ("split", "subset", "revision"):
        value = getattr(named.share, option)
        if value is not None and not (isinstance(named.source, Hub) and isinstance(named.given, str)):
            raise DataError(f"{named.place}.{option}: {value!r} belongs to a Hub data set; this is {label}")
    if named.part == "eval" and named.share.weight != 1:
        raise DataError(f"{named.place}.weight: {named.share.weight:g} is for training rows; held-out rows come once")
    for other in others[: others.index(named)]:
        is_again = other.source == named.source or other.source.is_same(named.source)
        if other.part == named.part and is_again and other.share.columns == named.share.columns:
            raise DataError(f"{named.place}: {label!r} is {other.place} already; give it once, with a larger weight")
        if other.part != named.part and other.source.is_same(named.source):
            raise DataError(
                f"{named.place}: {label!r} is {other.place} itself, so nothing would be held out; remove "
                f"{named.place}, and data.holdout rows are kept out of training"
            )


def _source(config: DataConfig, part: Part, share: Share, place: str, *, is_list: bool) -> Source:
    """A source as it is given, or the one that a text stands for, with the options for it."""
    given = share.path
    if isinstance(given, Source):
        return given
    kind = _kind(place, given)
    if kind == "world":
        return World(name=kind, **dict(config.world or WorldConfig()))
    if kind == "file":
        return File(name=kind, path=given)
    split, subset, revision = share.split, share.subset, share.revision
    if not is_list:
        split = config.split if part == "train" else config.eval_split
        subset, revision = config.subset, config.revision
    split = split or {"train": "train", "eval": "test"}[part]
    return Hub(name=kind, id=given, subset=subset, split=split, revision=revision)


def _kind(place: str, name: str) -> Literal["world", "file", "hub"]:
    """What a name means, by its looks and by what is there.

    A word alone is never handed to the datasets library, which reads `json`, `csv` or `pandas` as ways to read whatever
    lies in the working folder; nor is the name of anything that lies there.
    """
    known = f"a file ({', '.join(ENDINGS)}), a Hub data set (owner/name) or {WORLD}"
    if name == WORLD:
        return "world"
    if name.startswith("builtin:"):
        raise DataError(f"{place}: unknown data '{name}'; known: {WORLD}")
    if not name.strip():
        raise DataError(f"{place}: {name!r} is no name; name {known}")
    if name.endswith((*ENDINGS, ".gz")) or not (HUB_ID.fullmatch(name) or _WORD.fullmatch(name)):
        return "file"
    if os.path.lexists(name):
        return "file"
    if HUB_ID.fullmatch(name):
        return "hub"
    near = next((name + ending for ending in ENDINGS if os.path.exists(name + ending)), None)
    hint = f"; did you mean {near}?" if near else ""
    raise DataError(f"{place}: {name!r} is no file, and a word alone names no data set; name {known}{hint}")
