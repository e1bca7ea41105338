"""From a recipe file and `--set` arguments to a validated recipe that knows where each of its values came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from alignkit.errors import Problem, RecipeError, shown
from alignkit.libraries.content import DESCRIPTION
from alignkit.libraries.known import SHIPPED, Libraries
from alignkit.recipe.compose import Misfit, misfits
from alignkit.recipe.files import read_recipe_tree
from alignkit.recipe.header import unmet
from alignkit.recipe.kinds import KINDS
from alignkit.recipe.libraries import Source
from alignkit.recipe.messages import placed, problems_of
from alignkit.recipe.overrides import arguments_of, override
from alignkit.recipe.places import Stood, as_written, found_files, standing
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.render import render
from alignkit.recipe.stages import Roots, inside
from alignkit.recipe.tree import Node, dotted, leaves, nearest
from alignkit.recipe.tree import Path as TreePath
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
        notes: what the files say of themselves that their user should know.
        stood: the values that stand for a file of this machine.
        libraries: name -> version and commit of each library that a file is of, data included; alignkit's own apart.
        stage: its name in the pipeline that it is a stage of, or empty.
    """

    path: Path
    recipe: Recipe
    root: Node
    notes: tuple[str, ...] = ()
    stood: Mapping[TreePath, Stood] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    stage: str = ""

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
        # `weighting: uniform` gives the name of the component that it stands for, an item of `data.train` its path.
        is_short = isinstance(node.value, str) and path[depth:] in (("name",), ("path",))
        is_given = depth == len(path) or is_short
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
        problems = [inside(self.stage, problem) for problem in problems] if self.stage else problems
        if problems:
            raise RecipeError(sorted(problems, key=by_place))

    def to_yaml(self, origin: bool = False) -> str:
        """The whole recipe as YAML, defaults included; loading it again gives an equal recipe.

        Args:
            origin: add a comment to each value that says where it came from.
        """
        return render(self.tree(), self.comments() if origin else {})

    def comments(self) -> dict[str, str]:
        """Dotted path of each single value -> where it came from, and the file here that it stands for."""
        comments = dict(self.origins)
        for path, one in standing(self.recipe.model_dump(mode="json"), self.stood).items():
            comments[dotted(path)] += f", here {one.means}"
        return comments


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
    read = read_roots(path, overrides, libraries)
    if read.roots.stages:
        names = ", ".join(read.roots.stages)
        message = (
            f"{shown(str(path))} has the stages {names}; one recipe is expected (alignkit.load_pipeline loads all)"
        )
        raise RecipeError([*read.problems, Problem("", "", message)])
    loaded, problems = checked(read, read.roots.shared)
    return whole(loaded, [*read.problems, *problems])


@dataclass(frozen=True)
class Read:
    """A recipe file with overrides on top, not checked yet.

    Attributes:
        path: the file.
        roots: what it gives, stage by stage.
        problems: what is wrong with single keys.
        notes: what the files say of themselves.
        used: name -> version of each library that a file is of.
        libraries: those that could be named.
    """

    path: Path
    roots: Roots
    problems: list[Problem]
    notes: tuple[str, ...]
    used: Mapping[str, str]
    libraries: Libraries


def read_roots(path: Path | str, overrides: Sequence[str] | Mapping[str, object], libraries: Libraries | None) -> Read:
    """What a recipe file gives, with overrides on top.

    Raises:
        RecipeError: a file cannot be read at all.
        LibraryError: alignkit.toml or alignkit.lock cannot be used.
    """
    libraries = libraries or Libraries.here()
    read = read_recipe_tree(Path(path), libraries, Recipe.model_fields)
    roots, problems = read.roots, [*read.problems, *_unmet_of(read.files)]
    for argument in arguments_of(overrides):
        try:
            roots = override(roots, argument)
        except RecipeError as error:
            problems += error.problems
    notes = tuple(note for header in read.headers for note in header.notes)
    used = {name: libraries.version(name) for name in _libraries_of(read.files)}
    return Read(Path(path), roots, problems, notes, used, libraries)


def checked(read: Read, root: Node, stage: str = "") -> tuple[LoadedRecipe | None, list[Problem]]:
    """The recipe that a tree is, if it is one, and all that is wrong with it.

    Args:
        read: the file that it is of.
        root: the recipe, or one of its stages.
        stage: the name of that.
    """
    root, stood, problems = found_files(root, read.libraries)
    try:
        recipe = Recipe.model_validate(root.plain())
    except ValidationError as error:
        return None, [*problems, *problems_of(error, Recipe, root)]
    problems += [placed(root, where, message) for where, message in misfits(recipe)]
    named = {one.library for one in stood.values()} - {"", SHIPPED} - read.used.keys()
    used = {**read.used, **{name: read.libraries.version(name) for name in sorted(named)}}
    return LoadedRecipe(read.path, recipe, root, read.notes, stood, used, stage), problems


def whole(loaded: R | None, problems: Iterable[Problem]) -> R:
    """What was loaded, when nothing is wrong with it.

    Raises:
        RecipeError: with every problem, sorted by place.
    """
    if problems := sorted(set(problems), key=by_place):
        raise RecipeError(problems)
    assert loaded is not None, "what is no recipe has a problem"
    return loaded


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


def by_place(problem: Problem) -> tuple[str, int, Problem]:
    """Orders problems by file and line."""
    source, _, line = problem.where.rpartition(":")
    return (source, int(line), problem) if line.isdigit() else (problem.where, 0, problem)
