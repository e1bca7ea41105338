"""Which class stands behind each mapping of a recipe; what messages, checks and listings look up."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from alignkit.recipe.tree import Node, Path, component_name
from alignkit.registry import Component, Registry, RegistryError, Section

AnyRegistry = Registry[Any]


@dataclass(frozen=True)
class Part:
    """One mapping of a recipe.

    Attributes:
        path: where it stands; `N` stands for an index of a list that the recipe does not give.
        cls: the section, the component that the recipe names, or the slot's base class when it names none.
        registry: of a slot, the components that may stand here.
    """

    path: Path
    cls: type[Section]
    registry: AnyRegistry | None = None

    @property
    def keys(self) -> list[str]:
        """The keys it may have, sorted."""
        return sorted(self.cls.model_fields)


def parts(model: type[Section], node: Node | None, path: Path = ()) -> Iterator[Part]:
    """All mappings that a recipe of this model has or could have."""
    yield from _inside(Part(path, model), node)


def _inside(part: Part, node: Node | None) -> Iterator[Part]:
    yield part
    for key, field in part.cls.model_fields.items():
        below = node.child(key) if node else None
        for held, many in holders(field):
            places: list[tuple[Path, Node | None]] = [((*part.path, key), below)]
            if many:
                items = below.value if below and isinstance(below.value, list) else []
                places = [((*part.path, key, index), item) for index, item in enumerate(items)]
                places = places or [((*part.path, key, "N"), None)]
            for place, child in places:
                yield from _inside(_part(held, place, child), child)


def _part(held: type[Section] | AnyRegistry, path: Path, node: Node | None) -> Part:
    if not isinstance(held, Registry):
        return Part(path, held)
    try:
        return Part(path, held.get((node and component_name(node)) or ""), held)
    except RegistryError:  # complained about where the name stands
        return Part(path, held.base, held)


def holders(field: FieldInfo) -> list[tuple[type[Section] | AnyRegistry, bool]]:
    """The sections and registries that a field's value comes from, and whether it is a list of them."""
    return list(_holders(field.annotation, field.metadata, many=False))


def _holders(
    annotation: object, metadata: Sequence[object], many: bool
) -> Iterator[tuple[type[Section] | AnyRegistry, bool]]:
    registry = next((marker for marker in metadata if isinstance(marker, Registry)), None)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if registry is not None:
        yield registry, many
    elif origin is Annotated:
        yield from _holders(arguments[0], arguments[1:], many)
    elif origin in (tuple, list):
        yield from _holders(arguments[0], (), many=True)
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _holders(argument, (), many)
    elif isinstance(annotation, type) and issubclass(annotation, Section) and annotation is not Component:
        yield annotation, many
