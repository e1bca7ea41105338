"""The registries by kind: what `alignkit list` shows and the JSON Schema spells out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alignkit.advantages import advantages
from alignkit.benchmarks import benchmarks
from alignkit.contrasts import contrasts
from alignkit.data.sources import sources
from alignkit.doctor import checks
from alignkit.errors import shown
from alignkit.evaluation import measures
from alignkit.losses import losses
from alignkit.models import models
from alignkit.models.statistics import statistics
from alignkit.pair_weighting import pair_weightings
from alignkit.recipe.parts import parts
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.tree import dotted
from alignkit.registry import Registry, RegistryError, Section, suggestion
from alignkit.rewards import rewards
from alignkit.rollouts import anchors, samplers
from alignkit.views import trainers
from alignkit.weighting import weightings

KINDS: dict[str, Registry[Any]] = {
    registry.kind: registry
    for registry in (
        *(weightings, pair_weightings, losses, trainers, anchors, contrasts, statistics),
        *(rewards, advantages, samplers, models, sources, measures, benchmarks),
    )
}
"""Those that a recipe can name."""

ALL_KINDS: dict[str, Registry[Any]] = {**KINDS, checks.kind: checks}
"""Those that can be listed and explained: checks are asked without being named."""


def registry_of(kind: str, among: Mapping[str, Registry[Any]] = KINDS) -> Registry[Any]:
    """The registry of a kind, given in the singular or the plural.

    Args:
        kind: its name.
        among: the kinds that it may be one of.

    Raises:
        RegistryError: there is no such kind.
    """
    registry = among.get(kind) or _by_plural(among).get(kind)
    if registry is None:
        raise RegistryError(f"unknown kind {shown(kind)}; {suggestion(kind, list(among))}")
    return registry


def slot_of(name: str) -> Registry[Any] | None:
    """The registry of a kind, or of a slot by its path: `loss`, `losses.0`, `weighting.contrast`."""
    steps = [step for step in name.split(".") if step != "N" and not step.isdigit()]
    return ALL_KINDS.get(steps[-1]) or _by_plural(ALL_KINDS).get(steps[-1]) if steps else None


def section_of(name: str) -> tuple[str, type[Section]] | None:
    """Path and class of a part of every recipe that is no component, by its path or the end of that.

    `training`, `model.adapter` or `adapter`; `recipe` is the recipe itself.
    """
    sections = _sections()
    path = next((path for path in sections if name in (path, path.rpartition(".")[2])), None)
    return (path, sections[path]) if path else None


def subjects() -> list[str]:
    """All kinds, then the paths of all sections."""
    return [*ALL_KINDS, *_sections()]


def unknown_subject(name: str) -> RegistryError:
    """That `name` is neither a kind nor a section."""
    return RegistryError(f"unknown kind or section {shown(name)}; {suggestion(name, subjects())}")


def _sections() -> dict[str, type[Section]]:
    return {dotted(part.path) or "recipe": part.cls for part in parts(Recipe, None) if part.registry is None}


def _by_plural(among: Mapping[str, Registry[Any]]) -> dict[str, Registry[Any]]:
    return {plural(known): registry for known, registry in among.items()}


def plural(kind: str) -> str:
    """`losses` for `loss`."""
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"
