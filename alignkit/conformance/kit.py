"""Runs the checks of a component's kind and says what came of each."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from alignkit.conformance import (
    advantages,
    anchors,
    benchmarks,
    common,
    contrasts,
    losses,
    measures,
    models,
    rewards,
    samplers,
    sources,
    statistics,
    trainers,
)
from alignkit.conformance import pair_weightings as pairs
from alignkit.conformance import weightings as weights
from alignkit.conformance.check import Check
from alignkit.errors import AlignkitError, RecipeError, printable
from alignkit.recipe.kinds import KINDS
from alignkit.registry import Component

CHECKS: Final[Mapping[str, Sequence[Check]]] = {
    "weighting": weights.CHECKS,
    "pair_weighting": pairs.CHECKS,
    "loss": losses.CHECKS,
    "trainer": trainers.CHECKS,
    "anchor": anchors.CHECKS,
    "advantage": advantages.CHECKS,
    "contrast": contrasts.CHECKS,
    "statistic": statistics.CHECKS,
    "model": models.CHECKS,
    "source": sources.CHECKS,
    "measure": measures.CHECKS,
    "reward": rewards.CHECKS,
    "benchmark": benchmarks.CHECKS,
    "sampler": samplers.CHECKS,
}
"""What each kind promises beside what all components do."""

MOST_PROBLEMS: Final = 5
"""That are told of one promise."""


class NotConforming(AssertionError):
    """A component does not keep a promise of its kind."""


@dataclass(frozen=True)
class Outcome:
    """What came of one check.

    Attributes:
        promise: what was checked, in words.
        problems: how it is broken, a sentence each; empty where it is kept.
    """

    promise: str
    problems: tuple[str, ...]


def check_component(component: Component | type[Component], **parameters: Any) -> None:  # noqa: ANN401 -- of a recipe
    """Stops where a component does not keep what its kind promises; for tests.

    Args:
        component: a component or its class.
        parameters: of the class, as in a recipe.

    Raises:
        NotConforming: with every problem on a line of its own.
    """
    if isinstance(component, type):
        component = built(component, parameters)
    elif parameters:
        component = component.model_copy(update=parameters)
    problems = [problem for outcome in outcomes(component) for problem in outcome.problems]
    if problems:
        raise NotConforming("\n".join(problems))


def built(cls: type[Component], parameters: Mapping[str, Any]) -> Component:
    """A component of a class, which need not be registered.

    Raises:
        RecipeError: the parameters do not fit; in a line.
    """
    try:
        return cls.model_validate({"name": cls.__name__.lower(), **parameters})
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise RecipeError(f"{cls.__name__}: {printable(said)}; give its parameters") from None


def kind_of_class(cls: type[Component]) -> str:
    """The kind whose base class it has.

    Raises:
        RecipeError: it has none.
    """
    kind = next((kind for kind, registry in KINDS.items() if issubclass(cls, registry.base)), None)
    if kind is None:
        bases = ", ".join(registry.base.__name__ for registry in KINDS.values())
        raise RecipeError(f"{cls.__name__} has no base class of a kind of component; there are {bases}")
    return kind


def outcomes(component: Component) -> list[Outcome]:
    """What came of each check of the component's kind. A check that the component stops by an error is the last one."""
    found: list[Outcome] = []
    for check in (*common.CHECKS, *CHECKS.get(kind_of_class(type(component)), ())):
        promise = " ".join((inspect.getdoc(check) or check.__name__).split())
        try:
            problems = tuple(islice(check(component), MOST_PROBLEMS))
        except AlignkitError as error:
            return [*found, Outcome(promise, (printable(str(error), None),))]
        except Exception as error:  # whatever a component raises is what the check has found
            return [*found, Outcome(promise, (_raised(error, promise),))]
        found.append(Outcome(promise, problems))
    return found


def _raised(error: Exception, promise: str) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return printable(f"raised {what}, where it {promise}", 400)
