"""The slot of a weighting inside another one, which owns the final scale: a part may not set its own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer
from pydantic_core import PydanticCustomError

from alignkit.registry import dump_component
from alignkit.weighting import weightings
from alignkit.weighting.base import TokenWeighting

OWNED = tuple(TokenWeighting.model_fields.keys() - {"name"})
"""Settings of the base class: rescale, scope, clip."""


def _sets_no_scale(part: TokenWeighting) -> TokenWeighting:
    given = sorted(part.model_fields_set.intersection(OWNED))
    if given:
        raise PydanticCustomError(
            "part", f"'{given[0]}' belongs to the outer weighting; set it there and take it from '{part.name}'"
        )
    return part


def _dump(part: TokenWeighting) -> dict[str, Any]:
    # What a part may not set must not be dumped either: a resolved recipe is read again.
    return {key: value for key, value in dump_component(part).items() if key not in OWNED}


Part = Annotated[TokenWeighting, weightings, AfterValidator(_sets_no_scale), PlainSerializer(_dump)]
"""A slot inside a weighting."""
