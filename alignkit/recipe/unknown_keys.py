"""What to say about a key that does not exist where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath

from alignkit.errors import printable
from alignkit.recipe import migrations
from alignkit.recipe.header import FILE_KEYS, SCHEMA_KEY
from alignkit.recipe.other_names import CALLED, INSTEAD
from alignkit.recipe.parts import Part
from alignkit.recipe.stages import STAGES_KEY
from alignkit.recipe.tree import Node, Path, component_name, dotted, nearest
from alignkit.registry import suggestion


def unknown_key(path: Path, root: Node, known: Mapping[Path, Part]) -> str:
    """One line about the unknown last key of `path`: where it belongs, or the nearest key that exists."""
    key = str(path[-1])
    part = known.get(path[:-1])
    if part is None:  # a plugin's own kind of mapping
        return "unknown key"
    if renamed := _renamed(path, root, part):
        return f"unknown key; {renamed}"
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
    keys = part.keys if path[:-1] else sorted({*part.keys, *FILE_KEYS, STAGES_KEY} - {SCHEMA_KEY})
    return f"unknown key; {suggestion(key, keys, 'known keys')}"


def _renamed(path: Path, root: Node, part: Part) -> str | None:
    """What a key of an older recipe is called since, and how the file that has it is brought up to date."""
    component = component_name(nearest(root, path[:-1])[0])
    one = next((one for one in migrations.MIGRATIONS if one.fits(part, component, str(path[-1]))), None)
    place = nearest(root, path)[0].place
    if one is None:
        return None
    is_file = place.line and FilePath(place.source).is_file()  # of a library, or of `--set`, it is none
    advice = f"; run 'alignkit migrate {printable(place.source)}'" if is_file else ""
    return f"since schema {one.schema} it is called '{one.new}'{advice}"


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
