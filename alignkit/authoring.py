"""What whoever writes a library checks before it is shared: that others can read, extend and run what is in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from alignkit.errors import AlignkitError, DataError, RecipeError, printable
from alignkit.libraries.config import FILE
from alignkit.libraries.content import Description, describe, read_folder
from alignkit.libraries.known import Libraries
from alignkit.pipeline import run_pipeline
from alignkit.recipe.catalogue import comments_of
from alignkit.recipe.files import read_recipe_tree
from alignkit.recipe.libraries import recipe_files
from alignkit.recipe.pipeline import LoadedPipeline, load
from alignkit.run import run

SMOKE: Final = (
    "model={name: world}",
    "data.train=builtin:world",
    *(f"data.{key}=null" for key in ("eval", "split", "eval_split", "subset", "holdout")),
    "data.world={pairs: 16, eval_pairs: 8}",
    *("training.steps=2", "training.batch_size=2", "training.micro_batch_size=2", "training.trackers=[]"),
    *("evaluation.pairs=4", "evaluation.samples=2", "evaluation.max_new_tokens=4"),
)
"""Makes any recipe one that runs in seconds, with its own weighting, losses and trainer."""


@dataclass(frozen=True)
class Checked:
    """What was found of one file.

    Attributes:
        level: whether others can use it.
        where: the file.
        message: what is wrong, or what was not looked at; may be empty.
    """

    level: Literal["ok", "note", "error"]
    where: str
    message: str = ""


def checked(folder: Path, *, smoke: bool) -> Iterator[Checked]:
    """Everything that is to be said of a library in a folder.

    Args:
        folder: holds library.toml.
        smoke: run each whole recipe for two steps on the built-in world.

    Raises:
        LibraryError: it is no library.
    """
    content = read_folder(folder, str(folder))
    said = describe(content, str(folder))
    libraries = Libraries.here().at(said.name, folder.absolute())
    yield from _described(folder, said, libraries)
    for path in recipe_files(said.name, libraries):
        yield from _recipe(f"{said.name}:{path.as_posix()}", folder / path, libraries, smoke=smoke)


def _described(folder: Path, said: Description, libraries: Libraries) -> Iterator[Checked]:
    where = f"{folder}/library.toml"
    missing = [key for key in ("licence", "maintainers") if not getattr(said, key)]
    yield Checked("note", where, f"says no {' and no '.join(missing)}") if missing else Checked("ok", where)
    for name in sorted(set(said.libraries) - set(libraries.names)):
        yield Checked("error", where, f"needs library '{name}', which {FILE} of this folder does not have; add it")


def _recipe(name: str, path: Path, libraries: Libraries, *, smoke: bool) -> Iterator[Checked]:
    if not comments_of(path):
        yield Checked("error", name, "has no head; begin it with a comment that says what it is for")
    try:
        tree = read_recipe_tree(Path(name), libraries)
        if tree.problems:
            raise RecipeError(tree.problems)
    except RecipeError as error:
        yield Checked("error", name, str(error).replace("\n", "; "))
        return
    missing = sorted({"model", "data", "losses", "trainer"} - set(tree.root.value))
    if missing and not tree.roots.stages:
        yield Checked("ok", name, f"a base: has no {', '.join(missing)}")
        return
    try:
        loaded = load(name, libraries=libraries)
        said = [
            *libraries.description(name.partition(":")[0]).plugins,
            *(one for h in tree.headers for one in h.requires),
        ]
        yield from _unsaid(name, loaded.plugins, said)
    except RecipeError as error:
        of_machine = all(problem.message.startswith("'path:") for problem in error.problems)
        yield Checked("note" if of_machine else "error", name, str(error).replace("\n", "; "))
        if not of_machine:
            return
    if smoke:
        yield from _smoked(name, libraries)
    else:
        yield Checked("ok", name)


def _unsaid(name: str, plugins: Mapping[str, str], said: Sequence[str]) -> Iterator[Checked]:
    """The plugins that a recipe names a component of, and that others would not know to install."""
    known = {canonicalize_name(Requirement(one).name) for one in said}
    for package, version in plugins.items():
        if version.startswith("sha256:"):
            message = "which only this machine has; share it as a package, and name that in library.toml"
            yield Checked("error", name, f"needs {printable(package)}, {message}")
        elif canonicalize_name(package) not in known:
            yield Checked("error", name, f"needs the package {package}; name it under plugins of library.toml")


def _smoked(name: str, libraries: Libraries) -> Iterator[Checked]:
    try:
        loaded = load(name, SMOKE, libraries)
        with tempfile.TemporaryDirectory(prefix="alignkit-check-") as folder:
            if isinstance(loaded, LoadedPipeline):
                run_pipeline(loaded, Path(folder, "run"), quiet=True)
            else:
                run(loaded, Path(folder, "run"), quiet=True)
    except DataError as error:
        yield Checked("note", name, f"not run: the built-in world is not its data: {error}")
    except AlignkitError as error:
        yield Checked("error", name, f"two steps on the built-in world: {str(error).replace(chr(10), '; ')}")
    else:
        yield Checked("ok", name, "ran two steps")
