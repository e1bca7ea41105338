"""Components and the registry that finds them by name.

A component is a frozen pydantic model whose fields are its parameters and whose one method is its job, so parsing a
recipe is building its parts. A registry knows the names of one kind of component, imports a class when it is first
named, and is itself the marker of a recipe slot: `Weighting = Annotated[TokenWeighting, weightings]`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, distributions
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import PydanticCustomError, core_schema

from alignkit.errors import AlignkitError, shown

SLOT = "x-slot"
"""Key in a generated JSON Schema that stands for "any component of this kind"."""


LONGEST_NAME = 100
"""Longer text is not compared with names: no name is near it."""


class Section(BaseModel):
    """A part of a recipe: frozen, typed without coercion, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Component(Section):
    """A swappable part. Its fields are its parameters; its docstring gives the idea, the formula and the source."""

    name: str = Field("", repr=False)
    """The name it was chosen by; the registry fills it in."""


ComponentT = TypeVar("ComponentT", bound=Component)


class RegistryError(AlignkitError, LookupError):
    """A name is unknown or already taken."""


class Registry(Generic[ComponentT]):
    """The components of one kind, by name.

    Args:
        kind: singular name of the slot, as users read it in messages (`weighting`, `loss`).
        base: the class every member derives from.
        table: name -> "module:class". One visible table per kind; nothing is imported before it is named.
    """

    def __init__(self, kind: str, base: type[ComponentT], table: Mapping[str, str]) -> None:
        self.kind = kind
        self.base = base
        self._paths = dict(table)
        self._classes: dict[str, type[ComponentT]] = {}

    @property
    def one(self) -> str:
        """The kind with its article, for messages: `a loss`, `an anchor`."""
        return f"{'an' if self.kind[0] in 'aeiou' else 'a'} {self.kind}"

    def register(self, name: str) -> Callable[[type[ComponentT]], type[ComponentT]]:
        """Class decorator that adds a component under `name`.

        Raises:
            RegistryError: `name` has another owner already.
        """

        def add(cls: type[ComponentT]) -> type[ComponentT]:
            if name in self.names():
                raise RegistryError(f"{self.kind} '{name}' is already registered by {self.owner(name)}")
            self._classes[name] = cls
            return cls

        return add

    def names(self) -> list[str]:
        """All names, sorted; plugins included, none of them imported."""
        return sorted({*self._paths, *self._classes, *(point.name for point in self._entry_points())})

    def get(self, name: str) -> type[ComponentT]:
        """The class called `name`, imported now if it was not yet.

        Raises:
            RegistryError: no component has this name; the message gives the nearest one and all known ones.
        """
        if name not in self._classes:
            plugin = self._plugin(name)
            if plugin:
                self._classes[name] = self._loaded(name, plugin)
            elif name in self._paths:
                module, _, attribute = self._paths[name].partition(":")
                self._classes[name] = getattr(importlib.import_module(module), attribute)
            else:
                raise RegistryError(f"unknown {self.kind} {shown(name)}; {suggestion(name, self.names())}")
        return self._classes[name]

    def classes(self) -> dict[str, type[ComponentT]]:
        """name -> class of the built-in and the already loaded components; imports no plugin."""
        return {name: self.get(name) for name in sorted({*self._paths, *self._classes})}

    def owner(self, name: str) -> str:
        """Where `name` comes from: `module:class`, without importing it."""
        if name in self._classes:
            cls = self._classes[name]
            return f"{cls.__module__}:{cls.__qualname__}"
        if name in self._paths:
            return self._paths[name]
        return next(point.value for point in self._entry_points() if point.name == name)

    def source(self, name: str) -> str:
        """`file:line` of the class called `name`."""
        cls = self.get(name)
        return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"

    def build(self, name: str, values: Mapping[str, Any]) -> ComponentT:
        """The component `name` with these parameters.

        Raises:
            RegistryError: unknown name.
            pydantic.ValidationError: parameters that do not fit.
        """
        return self.get(name).model_validate({**values, "name": name})

    def _entry_points(self) -> list[EntryPoint]:
        return [point for point in _installed() if point.group == f"alignkit.{self.kind}"]

    def _plugin(self, name: str) -> EntryPoint | None:
        """The entry point called `name`, refused when it is not the only owner of the name."""
        points = [point for point in self._entry_points() if point.name == name]
        owners = sorted({*([self._paths[name]] if name in self._paths else []), *(point.value for point in points)})
        if len(owners) > 1:
            raise RegistryError(
                f"{self.kind} '{name}' is registered by {' and by '.join(owners)}; "
                "uninstall one of the plugins or rename its entry point"
            )
        return points[0] if points and name not in self._paths else None

    def _loaded(self, name: str, plugin: EntryPoint) -> type[ComponentT]:
        try:
            cls = plugin.load()
        except (ImportError, AttributeError) as error:
            raise RegistryError(f"plugin {self.kind} '{name}' ({plugin.value}) cannot be loaded: {error}") from error
        if not (isinstance(cls, type) and issubclass(cls, self.base)):
            raise RegistryError(f"plugin {self.kind} '{name}' is {cls!r}, not a subclass of {self.base.__name__}")
        return cls

    # --- the registry as the marker of a recipe slot ---

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._parse, serialization=core_schema.plain_serializer_function_ser_schema(dump_component)
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        # A reference, not the members: components may hold slots of their own kind. `recipe.schema` defines it.
        return {SLOT: self.kind}

    def _parse(self, value: object) -> ComponentT:
        """A component from `name`, from `{name: ..., parameters}`, or from a component itself."""
        if isinstance(value, self.base):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict):
            raise PydanticCustomError("slot_type", "not a component", {"registry": self})
        if not isinstance(value.get("name"), str):
            raise PydanticCustomError("slot_name", "needs a name", {"registry": self})
        name = value["name"]
        try:
            return self.build(name, value)
        except RegistryError as error:
            context = {"registry": self, "name": name, "message": str(error)}
            raise PydanticCustomError("slot_unknown", "{message}", context) from None
        except ValidationError as error:
            # Kept whole: recipe.messages flattens nested problems under the slot's own path.
            raise PydanticCustomError("slot_invalid", "invalid", {"registry": self, "errors": error.errors()}) from None


@cache
def _installed() -> list[EntryPoint]:
    """Our entry points in everything installed, scanned once per process."""
    points = (point for distribution in distributions() for point in distribution.entry_points)
    return [point for point in points if point.group.startswith("alignkit.")]


def dump_component(component: Component) -> dict[str, Any]:
    """The mapping that builds `component` again, its name first."""
    return component.model_dump(mode="json")


def suggestion(given: str, known: list[str], noun: str = "known") -> str:
    """`did you mean 'x'? known: a, b, x`, the first half only when something is near."""
    near = nearest_of(given, known)
    hint = f"did you mean '{near}'? " if near else ""
    return f"{hint}{noun}: {', '.join(known) or 'none'}"


def nearest_of(given: str, known: Iterable[str]) -> str | None:
    """The name that `given` most likely stands for, whatever its case and whether it has hyphens."""
    plain = {_plain(name): name for name in known}
    near = get_close_matches(_plain(given), plain, n=1) if len(given) <= LONGEST_NAME else []
    return plain[near[0]] if near else None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
