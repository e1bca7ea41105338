"""What to say about a key that does not exist where it stands."""

from __future__ import annotations

from collections.abc import Mapping

from alignkit.recipe.other_names import CALLED, INSTEAD
from alignkit.recipe.parts import Part
from alignkit.recipe.stages import EXTENDS_KEY, STAGES_KEY
from alignkit.recipe.tree import Node, Path, component_name, dotted, nearest
from alignkit.registry import suggestion


def unknown_key(path: Path, root: Node, known: Mapping[Path, Part]) -> str:
    """One line about the unknown last key of `path`: where it belongs, or the nearest key that exists."""
    key = str(path[-1])
    part = known.get(path[:-1])
    if part is None:  # a plugin's own kind of mapping
        return "unknown key"
    siblings = _siblings(key, part)
    if siblings and part.registry:
        name = component_name(nearest(root, path[:-1])[0])
        return f"belongs to {_listed(siblings)}; {part.registry.kind} is '{name}'"
    for name in (dotted(path), key):
        if name in INSTEAD:
            return f"unknown key; {INSTEAD[name]}"
        if name in CALLED:
            return f"unknown key; here it is called '{CALLED[name]}'"
    homes = [other.path for other in known.values() if key in other.cls.model_fields and key != "name"]
    if homes:
        return _belongs_under(min(homes, key=len))
    keys = part.keys if path[:-1] else sorted([*part.keys, EXTENDS_KEY, STAGES_KEY])
    return f"unknown key; {suggestion(key, keys, 'known keys')}"


def _siblings(key: str, part: Part) -> list[str]:
    """Other components that could stand in the slot and have this key."""
    if part.registry is None:
        return []
    return [name for name, cls in part.registry.classes().items() if key in cls.model_fields]


def _belongs_under(path: Path) -> str:
    return f"belongs under '{dotted(path)}'" if path else "belongs at the top level of the recipe"


def _listed(names: list[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
