"""What differs between two recipes, and whether a resumed run may differ so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from alignkit.errors import RunFolderError
from alignkit.loop.config import CAME_LATER, FREE_ON_RESUME, SCHEDULE
from alignkit.recipe.yaml import read_yaml

SHOWN_DIFFERENCES = 5
"""Differing keys that a message names before it only counts."""


_AROUND_DRAWINGS = re.compile(
    r"rewards\.\d+\.(timeout|abstains)|sampler\.(url|weights|timeout)|trainer\.samples_(every|groups)"
)
"""When a run of on-policy training stops, where its server is, and what of its samples is written."""


@dataclass(frozen=True)
class Difference:
    """A recipe value that is not what it was; JSON texts, or `absent`."""

    key: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.key} ({self.before}, now {self.now})"

    @property
    def is_as_before(self) -> bool:
        """Whether the value says what was done without it: a record holds every option of its time, so that one that
        is absent came later, and null asks for nothing."""
        return self.before == "absent" and (self.now == "null" or self.now == _LATER.get(_inner(self.key)))


_LATER = {key: json.dumps(value) for key, value in {**CAME_LATER, "evaluation.before": True}.items()}
"""Options that came later -> what they say where they ask for nothing."""


def _inner(key: str) -> str:
    """The key within a stage; of a stage, `stages.NAME.` comes before it."""
    return key.split(".", 2)[2] if key.startswith("stages.") else key


MAX_RECIPE_BYTES = 2**20
"""More of a recorded recipe is not read; the YAML reader has a limit of its own."""


def values_of(content: bytes, source: str) -> JsonValue:
    """The values of a recipe as our own reader sees them: to others `no` and `off` would be the same."""
    tree, problems = read_yaml(content, source)
    if tree is None or problems:
        reason = str(problems[0]) if problems else f"{source}: is empty"
        raise RunFolderError(f"{reason}; restore it or start a new run elsewhere")
    values: JsonValue = tree.plain()
    return values


def may_change(key: str) -> bool:
    """Whether a resumed run may have another value under a dotted key."""
    inner = _inner(key)
    section, _, rest = inner.partition(".")
    if section == "training":
        return rest.partition(".")[0] in FREE_ON_RESUME | SCHEDULE
    return section in ("evaluation", "parallel") or _AROUND_DRAWINGS.fullmatch(inner) is not None


def differences(before: object, now: object) -> list[Difference]:
    """One for each dotted key whose value differs."""
    old, new = dict(_flat(before)), dict(_flat(now))
    pairs = ((key, old.get(key, "absent"), new.get(key, "absent")) for key in dict.fromkeys([*old, *new]))
    return [Difference(key, was, now) for key, was, now in pairs if was != now]


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key -> JSON text of each leaf; an empty mapping or list is a leaf."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    if not items or not value:
        yield prefix, json.dumps(value, ensure_ascii=False, default=str)
        return
    for key, inner in items:
        yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))


def limited(found: Sequence[Difference]) -> str:
    """The first differences, and how many more there are."""
    rest = len(found) - SHOWN_DIFFERENCES
    return ", ".join(map(str, found[:SHOWN_DIFFERENCES])) + (f" and {rest} more" if rest > 0 else "")
