"""Every key that a recipe has or could have: its dotted paths, and what may be written there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from alignkit.recipe.parts import Part, holders, parts
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.render import scalar
from alignkit.recipe.tree import Node, Path, Place, component_name, dotted
from alignkit.registry import Registry, choices


@dataclass(frozen=True)
class Setting:
    """One key.

    Attributes:
        paths: how it can be written: by the names of the components on the way, then by their indices.
        part: the mapping that it stands in.
        key: its last step.
    """

    paths: list[str]
    part: Part
    key: str

    @property
    def field(self) -> FieldInfo:
        """What the class behind the mapping says of it."""
        return self.part.cls.model_fields[self.key]


def settings(root: Node) -> Iterator[Setting]:
    """All keys of a recipe whose tree is `root`; of a list that it does not give, none."""
    for part in parts(Recipe, root):
        if "N" in part.path:
            continue
        for key in part.cls.model_fields:
            if key != "name" or part.registry is None:
                yield Setting(spellings(root, (*part.path, key)), part, key)


def filled(root: Node) -> Node:
    """`root` with every default; as it is when something in it is wrong."""
    try:
        return _tree(Recipe.model_validate(root.plain()).model_dump(mode="json"), root.place)
    except ValidationError:
        return root


def spellings(root: Node, path: Path) -> list[str]:
    """The dotted forms of a path: items of lists by the component that they alone are, then by index."""
    named: list[str | int] = []
    node: Node | None = root
    for step in path:
        items = node.value if node and isinstance(node.value, list) else []
        node = node.child(step) if node else None
        name = component_name(node) if node and items else None
        named.append(name if name and [component_name(item) for item in items].count(name) == 1 else step)
    return list(dict.fromkeys([dotted(named), dotted(path)]))


def written(root: Node, path: Path = ()) -> Iterator[Path]:
    """The paths of all keys and items below the root, in order."""
    below = enumerate(root.value) if isinstance(root.value, list) else ()
    for step, node in root.value.items() if isinstance(root.value, dict) else below:
        yield (*path, step)
        yield from written(node, (*path, step))


def values_of(field: FieldInfo) -> list[str]:
    """The values that can be listed, as YAML has them: literals, names of components, `true`, `false`, `null`."""
    names = [name for held, many in holders(field) if isinstance(held, Registry) and not many for name in held.names()]
    alternatives = (field.annotation, *get_args(field.annotation))
    plain = [True, False] * (bool in alternatives) + [None] * (type(None) in alternatives)
    return [*map(scalar, choices(field.annotation)), *names, *map(scalar, plain)]


def _tree(plain: Any, place: Place) -> Node:  # noqa: ANN401 -- whatever YAML can hold
    if isinstance(plain, dict):
        return Node({key: _tree(value, place) for key, value in plain.items()}, place)
    if isinstance(plain, list):
        return Node([_tree(value, place) for value in plain], place)
    return Node(plain, place)
