"""A pipeline: recipes of one file that run one after the other, later ones from the results of earlier ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alignkit.errors import Problem, RecipeError, shown
from alignkit.libraries.known import Libraries
from alignkit.models.base import ModelSource
from alignkit.recipe.compose import Misfit
from alignkit.recipe.load import LoadedRecipe, checked, read_roots, whole
from alignkit.recipe.messages import placed
from alignkit.recipe.places import Stood
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.render import render
from alignkit.recipe.stages import RESULT_OF, STAGES_KEY, joined
from alignkit.recipe.tree import Node, leaves
from alignkit.recipe.tree import Path as KeyPath


@dataclass(frozen=True)
class LoadedPipeline:
    """Several recipes in one, each with its sources.

    Attributes:
        path: the file it was loaded from.
        stages: name -> recipe of each, in the order they run.
    """

    path: Path
    stages: Mapping[str, LoadedRecipe]

    def tree(self) -> dict[str, Any]:
        """All of it as plain values, defaults included."""
        return {STAGES_KEY: {name: loaded.tree() for name, loaded in self.stages.items()}}

    @property
    def origins(self) -> Mapping[str, str]:
        """Dotted path of each single value -> `file:line`, `--set KEY=VALUE` or `default`."""
        return _joined({name: loaded.origins for name, loaded in self.stages.items()})

    def origin_of(self, path: KeyPath) -> str:
        """Who gave the value at a path: `file:line`, `--set KEY=VALUE` or `default`."""
        _, name, *rest = (*path, next(iter(self.stages)))[: max(2, len(path))]
        return self.stages[str(name)].origin_of(tuple(rest))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the files say of themselves that their user should know."""
        return next(iter(self.stages.values())).notes

    @property
    def plugins(self) -> dict[str, str]:
        """Package -> version of every plugin that gives a component of a stage, sorted."""
        found = {package: version for loaded in self.stages.values() for package, version in loaded.plugins.items()}
        return dict(sorted(found.items()))

    def to_yaml(self, origin: bool = False) -> str:
        """All of it as YAML, defaults included; loading it again gives an equal pipeline.

        Args:
            origin: add a comment to each value that says where it came from.
        """
        comments = _joined({name: loaded.comments() for name, loaded in self.stages.items()})
        return render(self.tree(), comments if origin else {})


def check_share(loaded: LoadedRecipe | LoadedPipeline, processes: int) -> None:
    """Refuses a batch that leaves a process without work, and pieces that are not those of the processes.

    Raises:
        RecipeError: at its key.
    """
    for stage in loaded.stages.values() if isinstance(loaded, LoadedPipeline) else (loaded,):
        batch = stage.recipe.training.batch_size
        if batch < processes:
            message = f"expected at least {processes}, a row for each process of the run, got {batch}; or start fewer"
            stage.refuse([(("training", "batch_size"), message)])
        if misfit := stage.recipe.parallel.misfit(processes):
            key, message = misfit
            stage.refuse([(("parallel", key), message)])


def _joined(stages: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What is said of keys of stages, by their keys in the whole."""
    return {f"{STAGES_KEY}.{name}.{key}": said for name, found in stages.items() for key, said in found.items()}


def load(
    path: Path | str,
    overrides: Sequence[str] | Mapping[str, object] = (),
    libraries: Libraries | None = None,
) -> LoadedRecipe | LoadedPipeline:
    """Reads what a file holds, a recipe or a pipeline, with what it extends and overrides, and checks all of it.

    Args:
        path: the file, or NAME:PATH for one of a library.
        overrides: `KEY=VALUE` texts, as after `--set`, or dotted keys with plain values.
        libraries: those that can be named; None for those of the working folder's project.

    Raises:
        RecipeError: with every problem found, sorted by place.
        LibraryError: alignkit.toml or alignkit.lock cannot be used.
    """
    read = read_roots(path, overrides, libraries)
    if not read.roots.stages:
        loaded, problems = checked(read, read.roots.shared)
        return whole(loaded, [*read.problems, *problems])
    found: dict[str, list[Problem]] = {}
    stages = {}
    for name, root in read.roots.stages.items():
        loaded, found[name] = checked(read, root, name)
        if loaded is not None:
            stages[name] = loaded
            misplaced = _misplaced(loaded, list(found), [*read.roots.stages])
            found[name] += [placed(root, where, said) for where, said in misplaced]
    return whole(LoadedPipeline(read.path, stages), [*read.problems, *joined(found)])


def load_pipeline(
    path: Path | str,
    overrides: Sequence[str] | Mapping[str, object] = (),
    libraries: Libraries | None = None,
) -> LoadedPipeline:
    """Reads a recipe with stages, what it extends, and overrides, and checks all of it.

    Args:
        path: the recipe file.
        overrides: `KEY=VALUE` texts, as after `--set`, or dotted keys with plain values.
        libraries: those that can be named; None for those of the working folder's project.

    Raises:
        RecipeError: with every problem found, sorted by place; or it has no stages.
        LibraryError: alignkit.toml or alignkit.lock cannot be used.
    """
    loaded = load(path, overrides, libraries)
    if isinstance(loaded, LoadedRecipe):
        raise RecipeError(f"{shown(str(path))} has no stages; alignkit.load_recipe loads it")
    return loaded


def results_of(loaded: LoadedRecipe) -> dict[KeyPath, str]:
    """The places in a recipe that name the result of a stage -> the name of that stage."""
    model = {("model", *path): value for path, value in leaves(loaded.tree()["model"])}
    return {
        path: value.removeprefix(RESULT_OF)
        for path, value in model.items()
        if isinstance(value, str) and value.startswith(RESULT_OF)
    }


def with_results(loaded: LoadedRecipe, models: Mapping[KeyPath, Stood]) -> LoadedRecipe:
    """A stage with the folders of models in place of the names of the stages that make them.

    Args:
        loaded: the stage.
        models: place in it -> the folder, and how its record names that.
    """
    root = loaded.root
    for path, model in models.items():
        root = _replaced(root, path, model.means)
    others = {path: model for path, model in models.items() if model.written != model.means}
    recipe = Recipe.model_validate(root.plain())
    return replace(loaded, recipe=recipe, root=root, stood={**loaded.stood, **others})


def before_any(loaded: LoadedRecipe | LoadedPipeline) -> dict[str, LoadedRecipe]:
    """Stage -> recipe, as far as one can look at it before any stage ran; a recipe without stages is the stage ''.

    A result that is not there yet is taken to be like the model that its stage begins with.
    """
    if isinstance(loaded, LoadedRecipe):
        return {"": loaded}
    found: dict[str, LoadedRecipe] = {}
    for name, stage in loaded.stages.items():
        begun_with = results_of(stage).get(("model", "path"))
        if begun_with is not None:
            own = {key: getattr(stage.recipe.model, key) for key in ModelSource.model_fields if key != "name"}
            model = found[begun_with].recipe.model.model_copy(update=own)
            stage = replace(stage, recipe=stage.recipe.model_copy(update={"model": model}))
        found[name] = stage
    return found


def _replaced(node: Node, path: KeyPath, text: str) -> Node:
    """A tree with another text at a path; its place stays."""
    if not path:
        return replace(node, value=text)
    items: Any = node.value.copy()
    items[path[0]] = _replaced(items[path[0]], path[1:], text)
    return replace(node, value=items)


def _misplaced(loaded: LoadedRecipe, so_far: Sequence[str], names: Sequence[str]) -> Iterator[Misfit]:
    """Results that there are not yet when the stage runs."""
    *earlier, own = so_far
    for path, name in results_of(loaded).items():
        if name in earlier:
            continue
        said = f"stage {shown(name)} runs later" if name in names else f"there is no stage {shown(name)}"
        said = "a stage cannot begin with its own result" if name == own else said
        known = f"earlier stages: {', '.join(earlier)}" if earlier else "no stage is earlier than this one"
        yield path, f"{said}; {known}"
