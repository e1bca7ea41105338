"""From a recipe file and `--set` arguments to a validated recipe that knows where each of its values came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alignkit.errors import Problem, RecipeError
from alignkit.libraries.content import DESCRIPTION
from alignkit.libraries.known import SHIPPED, Libraries
from alignkit.recipe.compose import Misfit, misfits
from alignkit.recipe.files import read_recipe_tree
from alignkit.recipe.header import unmet
from alignkit.recipe.kinds import KINDS
from alignkit.recipe.libraries import Source
from alignkit.recipe.messages import placed, problems_of
from alignkit.recipe.overrides import arguments_of, override
from alignkit.recipe.places import Stood, as_written, found_files
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.render import render
from alignkit.recipe.tree import Node, dotted, leaves, nearest
from alignkit.recipe.tree import Path as TreePath
from alignkit.registry import Component, Section

DEFAULT = "default"
"""Origin of a value that no file and no `--set` gives."""


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with its sources.

    Attributes:
        path: the file it was loaded from.
        recipe: the validated recipe; its components are built.
        root: what the files and `--set` gave, merged, each value with its place.
        notes: what the files say of themselves that their user should know.
        stood: the values that stand for a file of this machine.
        libraries: name -> version and commit of each library that a file is of; alignkit's own apart.
    """

    path: Path
    recipe: Recipe
    root: Node
    notes: tuple[str, ...] = ()
    stood: Mapping[TreePath, Stood] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)

    def tree(self) -> dict[str, Any]:
        """The whole recipe as plain values, defaults included; files as they were written, such as `path:hh`."""
        return as_written(self.recipe.model_dump(mode="json"), self.stood)

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
        """Package -> version, or trusted file -> hash, of every plugin that gives a component of the recipe, sorted."""
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
        if problems:
            raise RecipeError(sorted(problems, key=_by_place))

    def to_yaml(self, origin: bool = False) -> str:
        """The whole recipe as YAML, defaults included; loading it again gives an equal recipe.

        Args:
            origin: add a comment to each value that says where it came from.
        """
        comments = dict(self.origins) if origin else {}
        for path, one in self.stood.items() if origin else ():
            comments[dotted(path)] += f", here {one.means}"
        return render(self.tree(), comments)


def load_recipe(
    path: Path | str,
    overrides: Sequence[str] | Mapping[str, object] = (),
    libraries: Libraries | None = None,
) -> LoadedRecipe:
    """Reads a recipe, what it extends, and overrides, and checks all of it.

    Args:
        path: the recipe file, or NAME:PATH for one of a library.
        overrides: `KEY=VALUE` texts, as after `--set`, or dotted keys with plain values.
        libraries: those that can be named; None for those of the working folder's project.

    Raises:
        RecipeError: with every problem found, sorted by place.
        LibraryError: alignkit.toml or alignkit.lock cannot be used.
    """
    libraries = libraries or Libraries.here()
    read = read_recipe_tree(Path(path), libraries, Recipe.model_fields)
    root, problems = read.root, [*read.problems, *_unmet_of(read.files)]
    for argument in arguments_of(overrides):
        try:
            root = override(root, argument)
        except RecipeError as error:
            problems += error.problems
    root, stood, unfound = found_files(root, libraries)
    problems += unfound
    try:
        recipe = Recipe.model_validate(root.plain())
    except ValidationError as error:
        problems += problems_of(error, Recipe, root)
    else:
        problems += [placed(root, where, message) for where, message in misfits(recipe)]
    if problems:
        raise RecipeError(sorted(set(problems), key=_by_place))
    notes = tuple(note for header in read.headers for note in header.notes)
    used = {name: libraries.version(name) for name in _libraries_of(read.files)}
    return LoadedRecipe(Path(path), recipe, root, notes, stood, used)


def _libraries_of(files: Sequence[Source]) -> list[str]:
    """The libraries that these files are of, sorted; alignkit's own apart."""
    return sorted({file.library for file in files} - {"", SHIPPED})


def _unmet_of(files: Sequence[Source]) -> Iterator[Problem]:
    """The packages that the libraries of these files need and that are not here."""
    for file in {file.library: file for file in files if file.library in _libraries_of(files)}.values():
        for requirement in file.libraries.description(file.library).plugins:
            if complaint := unmet(requirement):
                yield Problem(f"{file.library}:{DESCRIPTION}", "plugins", complaint)


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
