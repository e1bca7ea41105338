"""Components in words: their parameters with types and defaults, and what they need."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from alignkit.recipe.render import scalar
from alignkit.registry import Component, Registry
from alignkit.scores import Needs

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def parameters(cls: type[Component]) -> Iterator[str]:
    """Two lines or more per parameter: name, type, range and default; then what it means."""
    for key, field in cls.model_fields.items():
        if key == "name":
            continue
        yield f"  {key}: {_type(field.annotation, field.metadata)}{_range(field)}, {_default(field)}"
        yield from (f"      {line}" for line in (field.description or "").splitlines())


def needs_of(registry: Registry[Any], name: str) -> str:
    """What the step computes for a component with default parameters."""
    try:
        component = registry.build(name, {})
    except ValidationError:
        return "depends on its parameters"
    if hasattr(component, "sees"):
        return ", ".join([f"a trainer that gives {component.sees}", *_needed(component.needs())])
    if hasattr(component, "needs"):
        return ", ".join(_needed(component.needs())) or "nothing"
    return f"data with {', '.join(component.responses)}" if hasattr(component, "responses") else "nothing"


def _needed(needs: Needs) -> Iterator[str]:
    if needs.reference:
        yield "log-probs of the reference"
    if needs.reference_logits:
        yield "the reference's whole distribution"
    for wanted in sorted(needs.attributions, key=repr):
        yield f"attribution ({wanted.norm} norm of the gradient of {wanted.target}, {wanted.model})"
    if isinstance(needs.anchor, Component):
        yield f"anchor '{needs.anchor.name}'"
    yield from (f"data column '{column}'" for column in sorted(needs.columns))


def _type(annotation: object, metadata: object = ()) -> str:
    """A type in a user's words."""
    markers = metadata if isinstance(metadata, list | tuple) else ()
    registry = next((marker for marker in markers if isinstance(marker, Registry)), None)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if registry is not None:
        return f"a {registry.kind}"
    if origin is Annotated:
        return _type(arguments[0], arguments[1:])
    if origin is Literal:
        return " | ".join(map(scalar, arguments))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_type, arguments))
    return _WORDS.get(annotation, "mapping") if isinstance(annotation, type) else str(annotation)


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
    return f"default {scalar(list(default) if isinstance(default, tuple) else default)}"
