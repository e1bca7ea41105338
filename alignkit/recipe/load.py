"""From a recipe file and `--set` arguments to a validated recipe that knows where each of its values came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from alignkit.errors import Problem, RecipeError, shown
from alignkit.recipe.compose import Misfit, misfits
from alignkit.recipe.files import read_recipe_tree
from alignkit.recipe.kinds import KINDS
from alignkit.recipe.messages import placed, problems_of
from alignkit.recipe.overrides import arguments_of, override
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.render import render
from alignkit.recipe.stages import Roots, inside
from alignkit.recipe.tree import Node, dotted, leaves, nearest
from alignkit.registry import Component, Section

R = TypeVar("R")

DEFAULT = "default"
"""Origin of a value that no file and no `--set` gives."""


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with its sources.

    Attributes:
        path: the file it was loaded from.
        recipe: the validated recipe; its components are built.
        root: what the files and `--set` gave, merged, each value with its place.
        stage: its name in the pipeline that it is a stage of, or empty.
    """

    path: Path
    recipe: Recipe
    root: Node
    stage: str = ""

    def tree(self) -> dict[str, Any]:
        """The whole recipe as plain values, defaults included."""
        return self.recipe.model_dump(mode="json")

    @property
    def origins(self) -> Mapping[str, str]:
        """Dotted path of each single value -> `file:line`, `--set KEY=VALUE` or `default`."""
        return {dotted(path): self.origin_of(path) for path, _ in leaves(self.tree())}

    def origin_of(self, path: tuple[str | int, ...]) -> str:
        """Who gave the value at a path: `file:line`, `--set KEY=VALUE` or `default`."""
        node, depth = nearest(self.root, path)
        # `weighting: uniform` gives the name of the component that it stands for.
        is_given = depth == len(path) or (path[depth:] == ("name",) and isinstance(node.value, str))
        return str(node.place) if is_given else DEFAULT

    @property
    def plugins(self) -> dict[str, str]:
        """Package -> version of every plugin that gives a component of the recipe, sorted."""
        found = {
            registry.distribution(component.name)
            for component in _components(self.recipe)
            for registry in KINDS.values()
            if isinstance(component, registry.base)
        }
        return dict(sorted(plugin for plugin in found if plugin is not None))

    def refuse(self, misfits: Iterable[Misfit]) -> None:
        """Stops when there is any of these, at the place of its key.

        Raises:
            RecipeError: with all of them, sorted by place.
        """
        problems = [placed(self.root, where, message) for where, message in misfits]
        problems = [inside(self.stage, problem) for problem in problems] if self.stage else problems
        if problems:
            raise RecipeError(sorted(problems, key=_by_place))

    def to_yaml(self, origin: bool = False) -> str:
        """The whole recipe as YAML, defaults included; loading it again gives an equal recipe.

        Args:
            origin: add a comment to each value that says where it came from.
        """
        return render(self.tree(), self.origins if origin else {})


def load_recipe(path: Path | str, overrides: Sequence[str] | Mapping[str, object] = ()) -> LoadedRecipe:
    """Reads a recipe, what it extends, and overrides, and checks all of it.

    Args:
        path: the recipe file.
        overrides: `KEY=VALUE` texts, as after `--set`, or dotted keys with plain values.

    Raises:
        RecipeError: with every problem found, sorted by place.
    """
    roots, problems = read_roots(path, overrides)
    if roots.stages:
        message = f"{shown(str(path))} has the stages {', '.join(roots.stages)}; alignkit.load_pipeline loads them all"
        raise RecipeError([*problems, Problem("", "", message)])
    recipe, more = checked(roots.shared)
    return LoadedRecipe(Path(path), whole(recipe, [*problems, *more]), roots.shared)


def read_roots(path: Path | str, overrides: Sequence[str] | Mapping[str, object]) -> tuple[Roots, list[Problem]]:
    """The trees of a recipe file with overrides on top, and what is wrong with single keys.

    Raises:
        RecipeError: a file cannot be read at all.
    """
    roots, problems = read_recipe_tree(Path(path), Recipe.model_fields)
    for argument in arguments_of(overrides):
        try:
            roots = override(roots, argument)
        except RecipeError as error:
            problems += error.problems
    return roots, problems


def checked(root: Node) -> tuple[Recipe | None, list[Problem]]:
    """The recipe that a tree is, if it is one, and all that is wrong with it."""
    try:
        recipe = Recipe.model_validate(root.plain())
    except ValidationError as error:
        return None, problems_of(error, Recipe, root)
    return recipe, [placed(root, where, message) for where, message in misfits(recipe)]


def whole(recipe: R | None, problems: Iterable[Problem]) -> R:
    """What was loaded, when nothing is wrong with it.

    Raises:
        RecipeError: with every problem, sorted by place.
    """
    if problems := sorted(set(problems), key=_by_place):
        raise RecipeError(problems)
    assert recipe is not None, "what is no recipe has a problem"
    return recipe


def _components(section: Section) -> Iterator[Component]:
    """All components in a section, those inside others included."""
    if isinstance(section, Component):
        yield section
    for _, value in section:
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Section):
                yield from _components(part)


def _by_place(problem: Problem) -> tuple[str, int, Problem]:
    source, _, line = problem.where.rpartition(":")
    return (source, int(line), problem) if line.isdigit() else (problem.where, 0, problem)
