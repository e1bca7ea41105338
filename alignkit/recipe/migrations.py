"""Keys of recipes that were renamed: what older files call them, and since which schema they have their name.

A renamed component needs no line here: its registry gives it both names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from alignkit.recipe.parts import Part
from alignkit.recipe.tree import dotted


@dataclass(frozen=True)
class Renamed:
    """One key with another name.

    Attributes:
        schema: the first one in which it has the new name; `header.SCHEMA` is the last of these.
        owner: the mapping that it stands in: a section (`training`, `model.adapter`, `recipe`), a component
            (`loss.triplet`), or all components of a kind (`loss`).
        old: its name before.
        new: its name since.
    """

    schema: int
    owner: str
    old: str
    new: str

    def fits(self, part: Part, component: str | None, key: str) -> bool:
        """Whether this is what became of a key of `part`, of which `component` is the name when it stands in a slot."""
        kind = part.registry.kind if part.registry else None
        owners = (kind, f"{kind}.{component}") if kind else (dotted(part.path) or "recipe",)
        return key == self.old and self.owner in owners


MIGRATIONS: Final[tuple[Renamed, ...]] = ()
"""In the order they are made, sections before what is in them. No key of schema 1 ever had another name."""
