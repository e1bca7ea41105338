"""The slot of a weighting inside another one, which owns the final scale: a part may not set its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, PlainSerializer
from pydantic_core import PydanticCustomError

from alignkit.registry import dump_component
from alignkit.scores import Span
from alignkit.weighting import weightings
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor

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


def named(parts: Sequence[TokenWeighting], span: Span) -> dict[str, Tensor]:
    """Name -> [B, S] share of each part; of several with one name, all but the first with their number."""
    found: dict[str, Tensor] = {}
    for number, part in enumerate(parts, start=1):
        found[f"{part.name} {number}" if part.name in found else part.name] = part.share(span)
    return found
