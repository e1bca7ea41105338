"""Components and the registry that finds them by name.

A component is a frozen pydantic model whose fields are its parameters and whose one method is its job, so parsing a
recipe is building its parts. A registry knows the names of one kind of component, imports a class when it is first
named, and is itself the marker of a recipe slot: `Weighting = Annotated[TokenWeighting, weightings]`.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError, core_schema

from alignkit import entry_points, trusted
from alignkit.entry_points import Point
from alignkit.errors import AlignkitError, printable, shown

SLOT = "x-slot"
"""Key in a generated JSON Schema that stands for "any component of this kind"."""


LONGEST_NAME = 100
"""Longer text is not compared with names: no name is near it."""


LARGEST_INTEGER = 10**18
"""Beyond are those that 64 bits do not hold."""
LARGEST = 1e30
"""Largest number and, inverted, the one nearest to 0: the arithmetic of training has 32 bits, which end at 3e38."""


class Section(BaseModel):
    """A part of a recipe: frozen, typed without coercion, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_what_it_equals(cls, value: object, info: ValidationInfo) -> object:
        """Refuses what pydantic takes for its equal: `true` or `1.0` for `Literal[1]`."""
        if isinstance(value, bool | int | float):
            known = choices(cls.model_fields[str(info.field_name)].annotation)
            if any(value == choice and type(value) is not type(choice) for choice in known):
                raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, known))})
        return value

    @field_validator("*")
    @classmethod
    def _is_of_use(cls, value: object) -> object:
        """Refuses numbers that the arithmetic of training does not have."""
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, int | float):
                _refuse_extremes(item)
        return value

    def refuse_unused(self, keys: Iterable[str], beside: str) -> None:
        """Stops where one of these options is not its default: a recorded recipe gives those too.

        Args:
            keys: the options.
            beside: what makes them useless.

        Raises:
            PydanticCustomError: names the first of them.
        """
        for key in keys:
            if getattr(self, key) != type(self).model_fields[key].default:
                raise PydanticCustomError("conflict", f"'{key}' has no use with {beside}; leave it out")


def _refuse_extremes(number: float) -> None:
    largest = LARGEST_INTEGER if isinstance(number, int) else LARGEST
    if largest < number < math.inf:
        raise PydanticKnownError("less_than_equal", {"le": largest})
    if -math.inf < number < -largest:
        raise PydanticKnownError("greater_than_equal", {"ge": -largest})
    if 0 < abs(number) < 1 / LARGEST:
        raise PydanticCustomError("tiny", f"must be 0 or at least {1 / LARGEST:g} in size, got {number!r}")


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
            if name in self.names() and not self._may_take(name, cls):
                raise RegistryError(f"{self.kind} '{name}' is already registered by {self.owner(name)}")
            self._classes[name] = cls
            return cls

        return add

    def _may_take(self, name: str, cls: type[ComponentT]) -> bool:
        """Whether a class is what a plugin has under this name, or that plugin is a file that changed since."""
        points = [point for point in self._entry_points() if point.name == name]
        is_stale = bool(points) and all(getattr(point, "complaint", None) for point in points)
        return self.owner(name) == f"{cls.__module__}:{cls.__qualname__}" or (is_stale and name not in self._paths)

    def names(self) -> list[str]:
        """All names, sorted; plugins included, none of them imported."""
        return sorted({*self._paths, *self._classes, *(point.name for point in self._entry_points())})

    def get(self, name: str) -> type[ComponentT]:
        """The class called `name`, imported now if it was not yet.

        Raises:
            RegistryError: no component has this name; the message gives the nearest one and all known ones. Or several
                have it, or its plugin cannot be loaded.
        """
        if conflict := self.conflict(name):
            raise RegistryError(conflict)
        if name in self._classes or name in self._paths:
            return self._own(name)
        plugin = next((point for point in self._entry_points() if point.name == name), None)
        if plugin is None:
            raise RegistryError(
                f"unknown {self.kind} {shown(name, LONGEST_NAME)}; {suggestion(name, self.names())}{_not_read()}"
            )
        self._classes[name] = self._loaded(name, plugin)
        return self._classes[name]

    def classes(self) -> dict[str, type[ComponentT]]:
        """name -> class of the built-in and the already loaded components; imports no plugin."""
        return {name: self._own(name) for name in sorted({*self._paths, *self._classes})}

    def _own(self, name: str) -> type[ComponentT]:
        """A class that is built in or was loaded, whatever plugins claim its name."""
        if name not in self._classes:
            module, _, attribute = self._paths[name].partition(":")
            self._classes[name] = getattr(importlib.import_module(module), attribute)
        return self._classes[name]

    def conflict(self, name: str) -> str | None:
        """Why nobody may use `name` and what to do: somebody else claims it, or its file is not what was trusted.

        None when all is well; nothing is imported to know.
        """
        owners = {self._paths[name]: self._paths[name]} if name in self._paths else {}
        plugins = [point for point in self._entry_points() if point.name == name]
        for point in plugins:  # of one package seen twice, the first counts, as it does for imports
            owners.setdefault(point.value, entry_points.claim(point))
        files = [point for point in plugins if isinstance(point, trusted.TrustedPoint)]
        if len(owners) < 2:
            return next((point.complaint for point in files if point.complaint), None)
        way_out = f"; or run 'alignkit plugins untrust {files[0].path}'" if files else ""
        return (
            f"{self.kind} '{name}' is registered by {' and by '.join(sorted(owners.values()))}; "
            f"uninstall one of the plugins or rename its entry point{way_out}"
        )

    def is_free(self, name: str, path: Path) -> bool:
        """Whether nobody has `name`, but for a plugin that is the file or folder `path`."""
        others = {point.name for point in self._entry_points() if getattr(point, "path", None) != path}
        return name not in {*self._paths, *others}

    def synonyms(self, name: str) -> list[str]:
        """All names of a built-in component, the one that is explained first; none of any other component."""
        return [other for other, path in self._paths.items() if path == self._paths.get(name)]

    def distribution(self, name: str) -> tuple[str, str] | None:
        """Package and version of the plugin that gives `name`; None for what alignkit itself has."""
        plugin = next((point for point in self._entry_points() if point.name == name), None)
        return entry_points.package_of(plugin) if plugin and name not in self._paths else None

    def owner(self, name: str) -> str:
        """Where `name` comes from: `module:class`, without importing it."""
        if name in self._classes:
            cls = self._classes[name]
            return f"{cls.__module__}:{cls.__qualname__}"
        if name in self._paths:
            return self._paths[name]
        return next(point.value for point in self._entry_points() if point.name == name)

    def source(self, name: str) -> str:
        """`file:line` of the class called `name`; `module:class` where there is no file."""
        cls = self.get(name)
        try:
            return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"
        except (OSError, TypeError):  # a plugin may make its class without a file
            return self.owner(name)

    def build(self, name: str, values: Mapping[str, Any]) -> ComponentT:
        """The component `name` with these parameters.

        Raises:
            RegistryError: unknown name.
            pydantic.ValidationError: parameters that do not fit.
        """
        return self.get(name).model_validate({**values, "name": name})

    def _entry_points(self) -> list[Point]:
        found: list[Point] = [*entry_points.installed(), *trusted.points()]
        return [point for point in found if point.group == f"alignkit.{self.kind}"]

    def _loaded(self, name: str, plugin: Point) -> type[ComponentT]:
        try:
            cls = plugin.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin's module may do anything, `sys.exit()` included
            said = str(error) if isinstance(error, ImportError | AttributeError) else _described(error)
            raise RegistryError(
                f"plugin {self.kind} '{name}' ({entry_points.claim(plugin)}) cannot be loaded: {said}"
            ) from error
        if not (isinstance(cls, type) and issubclass(cls, self.base)):
            raise RegistryError(
                f"plugin {self.kind} '{name}' ({entry_points.claim(plugin)}) is {shown(cls)}, "
                f"not a subclass of {self.base.__name__}"
            )
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
            # Kept whole: recipe.messages flattens nested problems under the slot's own path. The summary is for Python.
            errors = error.errors()
            summary = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in errors)
            context = {"registry": self, "errors": errors, "summary": summary}
            raise PydanticCustomError("slot_invalid", "{summary}", context) from None


def _not_read() -> str:
    """What else to say of an unknown name, where plugins could not be read."""
    packages = entry_points.unreadable()
    of_packages = f"; not read: the entry points of {', '.join(packages)}" if packages else ""
    return of_packages + (f"; {said}" if (said := trusted.unreadable()) else "")


def _described(error: BaseException) -> str:
    """Type and first line of an exception that is not ours."""
    first = next(iter(str(error).strip().splitlines()), "")
    return printable(f"{type(error).__name__}: {first}" if first else type(error).__name__)


def dump_component(component: Component) -> dict[str, Any]:
    """The mapping that builds `component` again, its name first."""
    return component.model_dump(mode="json")


def choices(annotation: object) -> list[object]:
    """The literal values that an annotation allows, in the order they are declared."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for argument in get_args(annotation) for choice in choices(argument)]


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
