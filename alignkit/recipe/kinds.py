"""The registries by kind: what `alignkit list` shows and the JSON Schema spells out."""

from __future__ import annotations

from typing import Any

from alignkit.anchors import anchors
from alignkit.contrasts import contrasts
from alignkit.losses import losses
from alignkit.models import models
from alignkit.pair_weighting import pair_weightings
from alignkit.registry import Registry, RegistryError, suggestion
from alignkit.trainers import trainers
from alignkit.weighting import weightings

KINDS: dict[str, Registry[Any]] = {
    registry.kind: registry for registry in (weightings, pair_weightings, losses, trainers, anchors, contrasts, models)
}


def registry_of(kind: str) -> Registry[Any]:
    """The registry of a kind, given in the singular or the plural.

    Raises:
        RegistryError: there is no such kind.
    """
    plurals = {plural(known): registry for known, registry in KINDS.items()}
    registry = KINDS.get(kind) or plurals.get(kind)
    if registry is None:
        raise RegistryError(f"unknown kind '{kind}'; {suggestion(kind, list(KINDS))}")
    return registry


def plural(kind: str) -> str:
    """`losses` for `loss`."""
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"
