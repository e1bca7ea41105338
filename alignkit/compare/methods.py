"""What is compared: methods, each one folder or several that are its seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from alignkit.compare.folders import Folder, Moment, read_folder
from alignkit.errors import CompareError, printable


@dataclass(frozen=True)
class Method:
    """One folder, or the seeds of one method.

    Attributes:
        name: what the comparison calls it.
        folders: one for each seed, in the order of seeds.
    """

    name: str
    folders: Sequence[Folder]

    @property
    def seeds(self) -> list[int | None]:
        """Of its runs, in their order."""
        return [folder.seed for folder in self.folders]

    @property
    def has_seeds(self) -> bool:
        """Whether its runs are several, each with a seed of its own."""
        return len(self.seeds) > 1 and None not in self.seeds and len(set(self.seeds)) == len(self.seeds)


def methods_of(arguments: Sequence[str | Path], moment: Moment) -> tuple[list[Method], list[str]]:
    """The methods of a command line, and what should be known of them.

    `NAME=FOLDER,FOLDER` names a method and its seeds. Where no argument does, runs whose recipes differ in the seed
    alone are one method, unless they are all that is compared.

    Raises:
        CompareError: there are fewer than two, two have one name, or a folder cannot be read.
        RunFolderError: a folder's records are damaged.
    """
    if len(arguments) < 2:
        raise CompareError("alignkit compare: needs two runs or more; give the run to compare with first")
    named = [_named(str(argument)) for argument in arguments]
    paths = dict.fromkeys(path for _, inner in named for path in inner)
    read = {path: read_folder(path, moment) for path in paths}
    groups = [(name, [read[path] for path in inner]) for name, inner in named]
    if not any(name for name, _ in groups):
        groups = [("", group) for group in _by_recipe([folders[0] for _, folders in groups])]
    methods = _with_names(groups)
    notes = [note for folder in read.values() for note in folder.notes]
    return methods, notes + [_said(method) for method in methods if len(method.folders) > 1]


def _named(argument: str) -> tuple[str, list[Path]]:
    """`NAME=FOLDER,FOLDER` as name and folders; a folder that exists is a folder, whatever its name holds."""
    name, equals, folders = argument.partition("=")
    if not equals or os.path.isdir(argument):
        return "", [Path(argument)]
    paths = [Path(one) for one in folders.split(",") if one]
    if not name or not paths or len(set(paths)) < len(paths):
        raise CompareError(
            f"{printable(argument)}: give a method as NAME=FOLDER,FOLDER with different folders, one for each seed"
        )
    return name, paths


def _by_recipe(folders: Sequence[Folder]) -> list[list[Folder]]:
    """Seeds of one recipe together, in the order in which the first of each is given."""
    groups: list[list[Folder]] = []
    for folder in folders:
        own = next((group for group in groups if _is_seed_of(folder, group)), None)
        if own is None:
            groups.append([folder])
        else:
            own.append(folder)
    return groups if len(groups) > 1 else [[folder] for folder in folders]


def _is_seed_of(folder: Folder, group: Sequence[Folder]) -> bool:
    """Whether it is another seed of the same recipe."""
    of_runs = folder.is_run and group[0].is_run and folder.recipe_but_seed == group[0].recipe_but_seed
    return of_runs and folder.seed not in [one.seed for one in group]


def _with_names(groups: Sequence[tuple[str, Sequence[Folder]]]) -> list[Method]:
    named = [name for name, _ in groups if name]
    if len(set(named)) < len(named):
        twice = next(name for name, same in groupby(sorted(named)) if len(list(same)) > 1)
        raise CompareError(f"{printable(twice)}: names two methods; give each a name of its own")
    names = [name or folders[0].path.name for name, folders in groups]
    names = [
        name if name and names.count(name) == 1 else str(folders[0].path)
        for name, (_, folders) in zip(names, groups, strict=True)
    ]
    names = [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]
    return [
        Method(printable(name, 60), sorted(folders, key=lambda one: -1 if one.seed is None else one.seed))
        for name, (_, folders) in zip(names, groups, strict=True)
    ]


def _said(method: Method) -> str:
    listed = ", ".join("?" if seed is None else str(seed) for seed in method.seeds)
    return f"{method.name}: {len(method.folders)} runs are its seeds ({listed})"
