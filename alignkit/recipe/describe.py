"""Components in words: their parameters with types and defaults, and what they need."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from alignkit.contrasts.base import Contrast
from alignkit.needs import Needs
from alignkit.recipe.render import scalar
from alignkit.registry import Component, Registry, Section
from alignkit.trainers.base import Trainer

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def parameters(cls: type[Component]) -> Iterator[str]:
    """Two lines or more per parameter: name, type, range and default; then what it means."""
    for key, field in cls.model_fields.items():
        if key == "name":
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
    if needs.reference:
        yield "log-probs of the reference"
    if needs.reference_logits:
        yield "the reference's whole distribution"
    yield from sorted(f"statistic '{type(statistic).__name__}'" for statistic in needs.statistics)
    if needs.prompt:
        yield "log-probs of the prompt"
    if needs.gold:
        yield "data with gold"
    if needs.mismatched:
        yield "log-ratios of mismatched responses"
    yield from sorted(values.words for values in needs.values)
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
        return registry.one
    if origin is Annotated:
        return _type(arguments[0], arguments[1:])
    if origin is Literal:
        return " | ".join(map(scalar, arguments))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
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
    return f"default {scalar(list(default) if isinstance(default, tuple) else default)}"
