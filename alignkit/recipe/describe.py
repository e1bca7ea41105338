"""Components and sections in words: their parameters with types and defaults, and what they need."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from alignkit.asks.needs import Needs
from alignkit.contrasts.base import Contrast
from alignkit.models.attribution import Attribution
from alignkit.recipe.render import scalar
from alignkit.registry import Component, Registry, Section
from alignkit.views.base import Trainer

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def about(registry: Registry[Any], name: str) -> str:
    """What a component is, in a sentence; a plugin that was not named yet is not imported for it."""
    cls = registry.classes().get(name)
    said = _first_sentence(cls) if cls else f"Plugin {registry.owner(name)}"
    first, *others = registry.synonyms(name) or [name]
    if name != first:
        said = f"Another name of {first}"
    elif others:
        said += f"; also called {', '.join(others)}"
    conflict = registry.conflict(name)
    return f"{said}." + (f" Refused when used: {conflict}." if conflict else "")


def _first_sentence(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split()).split(". ")[0].rstrip(".")


def parameters(cls: type[Section], only: str | None = None) -> Iterator[str]:
    """Two lines or more per parameter, or for one only: name, type, range and default; then what it means."""
    for key, field in cls.model_fields.items():
        if (only or key) != key or (key == "name" and issubclass(cls, Component)):
            continue
        yield f"  {key}: {_type(field.annotation, field.metadata)}{_range(field)}, {_default(field)}"
        yield from (f"      {line}" for line in (field.description or "").splitlines())


def needs_of(registry: Registry[Any], name: str) -> str | None:
    """What a component with default parameters asks of data, trainer and step; None if its kind asks nothing."""
    cls = registry.get(name)
    if issubclass(cls, Trainer):
        return f"data with {cls.reads}"
    if issubclass(cls, Contrast):
        return f"a trainer that gives {' or '.join(cls.fits)}"
    if not hasattr(cls, "needs"):
        return None
    try:
        component = registry.build(name, {})
    except ValidationError:
        return "depends on its parameters"
    trainer = [f"a trainer that gives {cls.sees}"] if hasattr(cls, "sees") else []
    return ", ".join([*trainer, *needed(component.needs())]) or "nothing"


def needed(needs: Needs) -> Iterator[str]:
    """All that is asked for, in words."""
    for field, words in _NEEDED.items():
        if value := getattr(needs, field):
            yield from words(value)


def _always(words: str, value: object) -> Iterator[str]:
    yield words


def _attributions(wanted: Iterable[Attribution]) -> Iterator[str]:
    for one in sorted(wanted, key=repr):
        yield f"attribution ({one.norm} norm of the gradient of {one.target}, {one.model})"


_NEEDED: Mapping[str, Callable[[Any], Iterable[str]]] = {
    "reference": partial(_always, "log-probs of the reference"),
    "statistics": lambda wanted: sorted({one.words for one in wanted}),
    "readings": lambda wanted: sorted(one.words for one in wanted),
    "prompt": partial(_always, "log-probs of the prompt"),
    "gold": partial(_always, "data with gold"),
    "mismatched": partial(_always, "log-ratios of mismatched responses"),
    "values": lambda values: sorted(one.words for one in values),
    "row_values": lambda values: sorted(one.words for one in values),
    "attributions": _attributions,
    "full_sequence": partial(_always, "importances of the prompt's tokens"),
    "anchor": lambda anchor: [f"anchor '{anchor.name}'"],
    "sampled": partial(_always, "responses that the policy samples"),
    "whole_step": partial(_always, "a look at the whole step before it"),
    "columns": lambda columns: [f"data column '{column}'" for column in sorted(columns)],
    "nonnegative": lambda columns: [f"numbers >= 0 in data column '{column}'" for column in sorted(columns)],
}
"""A word for each field of `Needs`; a test fails when one has none."""


def _type(annotation: object, metadata: object = ()) -> str:
    """A type in a user's words."""
    markers = metadata if isinstance(metadata, list | tuple) else ()
    registry = next((marker for marker in markers if isinstance(marker, Registry)), None)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if registry is not None:
        return registry.one
    if origin is Annotated:
        return _type(arguments[0], arguments[1:])
    if origin is Literal:
        return " | ".join(map(scalar, arguments))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type(arguments[0])} to {_type(arguments[1])}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_type, arguments))
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return f"mapping of {', '.join(annotation.model_fields)}"
    return _WORDS.get(annotation, "value") if isinstance(annotation, type) else str(annotation)


def _range(field: FieldInfo) -> str:
    """`, > 0`, from the field's bounds."""
    bounds = [
        f"{sign} {getattr(marker, bound):g}"
        for marker in field.metadata
        for bound, sign in _SIGNS.items()
        if getattr(marker, bound, None) is not None
    ]
    return f" {' and '.join(bounds)}" if bounds else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, Component):
        return f"default {default.name}"
    if isinstance(default, Section):
        return "default as its keys have it"
    if isinstance(default, tuple):
        default = [item.name if isinstance(item, Component) else item for item in default]
    return f"default {scalar(default)}"
