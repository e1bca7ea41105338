"""What a shell offers when Tab is pressed: recipes, kinds and names of components, keys and values of `--set`.

`alignkit --install-completion` tells the shell to ask; whatever goes wrong, it is offered nothing and shown no error.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from alignkit.errors import AlignkitError
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    import alignkit.libraries.known as known
    import alignkit.recipe.describe as describing
    import alignkit.recipe.files as files
    import alignkit.recipe.kinds as kinds
    import alignkit.recipe.libraries as shelves
    import alignkit.recipe.overrides as overriding
    import alignkit.recipe.render as rendering
    import alignkit.recipe.settings as setting
    import alignkit.recipe.stages as stages
    import alignkit.recipe.tree as tree
else:
    known = LazyModule("alignkit.libraries.known")
    describing = LazyModule("alignkit.recipe.describe")
    files = LazyModule("alignkit.recipe.files")
    kinds = LazyModule("alignkit.recipe.kinds")
    shelves = LazyModule("alignkit.recipe.libraries")
    overriding = LazyModule("alignkit.recipe.overrides")
    rendering = LazyModule("alignkit.recipe.render")
    setting = LazyModule("alignkit.recipe.settings")
    stages = LazyModule("alignkit.recipe.stages")
    tree = LazyModule("alignkit.recipe.tree")

VARIABLE: Final = "_ALIGNKIT_COMPLETE"
"""Set by the shell when it asks."""

_ENDINGS: Final = (".yaml", ".yml")
_BARE: Final = re.compile(r"[\w.+-]+", re.ASCII)
"""Values that no shell reads otherwise."""

_BREAK: Final = re.compile(r"[:=]+")
"""What is a word of its own for bash."""

Offers = list[tuple[str, str]]
"""Words, each with what it is."""


def recipes(incomplete: str) -> Offers:
    """Recipe files, folders on the way to them, and recipes of libraries."""
    return [(name, "") for name in _steps(lambda start: [*_files(start), *_of_libraries(start)], incomplete, "/:")]


def libraries(incomplete: str) -> Offers:
    """The libraries that recipes can name here."""
    return [(name, "") for name in known.Libraries.here().names]


def kinds_of_components(incomplete: str) -> Offers:
    """What `list` takes."""
    return [(name, "") for name in kinds.KINDS]


def subjects(incomplete: str) -> Offers:
    """What `describe` takes."""
    return [(name, "") for name in kinds.subjects()]


def names(context: typer.Context, incomplete: str) -> Offers:
    """The components of the kind, or keys of the section, that stands before."""
    kind = str(context.params["kind"])
    if registry := kinds.slot_of(kind):
        return [(name, describing.about(registry, name)) for name in registry.names()]
    found = kinds.section_of(kind)
    return [(key, _first_line(field)) for key, field in found[1].model_fields.items()] if found else []


def overrides(context: typer.Context, incomplete: str) -> Offers:
    """Keys of the recipe on the line, and after `=` the values that can be listed and the one it has."""
    with redirect_stdout(sys.stderr):  # a plugin that is imported may print
        return _overrides(_recipe(context), incomplete)


def _overrides(roots: stages.Roots, incomplete: str) -> Offers:
    root = roots.root
    if incomplete.startswith("~"):
        given = {f"~{spelled}" for path in setting.written(root) for spelled in setting.spellings(root, path)}
        return [(path, "") for path in _steps(lambda start: given, incomplete, ".")]
    starts = {f"stages.{name}.": setting.filled(stage) for name, stage in roots.stages.items()}
    wholes = {"": setting.filled(roots.shared), **starts}
    offered = {
        f"{start}{path}=": (whole, one)
        for start, whole in wholes.items()
        for one in setting.settings(whole)
        for path in one.paths
    }
    keys = {key: one for key, (_, one) in offered.items()}
    key, equals, _ = incomplete.partition("=")
    found = [] if equals else _steps(lambda start: keys, incomplete, ".")
    offers = [(path, _first_line(keys[path].field) if path in keys else "") for path in found]
    if equals or len(found) == 1:
        only = f"{key}=" if equals else found[0]
        offers += [(only + value, "") for value in _values(*offered[only])] if only in keys else []
    return offers


def _recipe(context: typer.Context) -> stages.Roots:
    """The trees of the recipe that the line gives, with the overrides before the cursor, as far as they can be read."""
    roots = stages.Roots(tree.Node({}, tree.Place("")))
    # Behind a `--set` without its value the words that are no options are not yet given to their arguments.
    arguments = [context.params.get("recipe"), *(context.params.get("recipes") or ()), *context.args]
    with suppress(AlignkitError, StopIteration):
        roots = files.read_recipe_tree(Path(next(filter(None, arguments))), known.Libraries.here()).roots
    for argument in context.params.get("overrides") or ():
        with suppress(AlignkitError):
            roots = overriding.override(roots, argument)
    return roots


def _values(whole: tree.Node, one: setting.Setting) -> Iterator[str]:
    """What a key may be and what it is, of that what no shell reads otherwise."""
    now, depth = tree.nearest(whole, (*one.part.path, one.key))
    is_given = depth == len(one.part.path) + 1
    current = tree.component_name(now) or rendering.scalar(now.plain()) if is_given else ""
    return filter(_BARE.fullmatch, dict.fromkeys([*setting.values_of(one.field), current]))


def _steps(below: Callable[[str], Iterable[str]], incomplete: str, separators: str) -> list[str]:
    """The names below `incomplete`, each up to its next separator; a way that does not part is gone to its end.

    A shell puts a blank after the one word that is left, so that a word to be continued must not be alone.
    """
    found = _next(below(incomplete), incomplete, separators)
    while len(found) == 1 and found[0].endswith(tuple(separators)):
        further = _next(below(found[0]), found[0], separators)
        if further in ([], found):
            break
        found = further
    return found


def _next(names: Iterable[str], start: str, separators: str) -> list[str]:
    step = re.compile(rf"{re.escape(start)}[^{separators}]*[{separators}]?")
    return sorted({match[0] for match in map(step.match, names) if match})


def _files(start: str) -> Iterator[str]:
    """Recipe files and folders whose path begins with `start`."""
    folder, name = os.path.split(start)
    with suppress(OSError), os.scandir(os.path.expanduser(folder) or ".") as entries:
        for entry in entries:
            if entry.name.startswith(name) and not (entry.name.startswith(".") and not name):
                path = os.path.join(folder, entry.name)
                if entry.is_dir():
                    yield f"{path}/"
                elif path.endswith(_ENDINGS) and path.isprintable():
                    yield path


def _of_libraries(start: str) -> list[str]:
    """The recipes of the library that is named, or all libraries; one that is not named is not looked into."""
    name, colon, _ = start.partition(":")
    try:
        found = known.Libraries.here()
    except AlignkitError:
        return []
    if not colon:
        return [f"{library}:" for library in found.names]
    return shelves.recipe_names(name, found) if name in found.names else []


def _first_line(field: FieldInfo) -> str:
    """The first sentence about a key."""
    return " ".join((field.description or "").split()).split(". ")[0]


def answer(app: typer.Typer) -> int:
    """Prints what the shell in `VARIABLE` asked for; the exit code."""
    printed, code, done = StringIO(), 1, ""
    with redirect_stdout(printed), redirect_stderr(StringIO()), suppress(Exception):
        if os.environ[VARIABLE] == "complete_bash":
            done = _rejoined(os.environ)
        try:
            app(prog_name="alignkit")
        except SystemExit as end:
            code = int(end.code or 0)
    sys.stdout.write("".join(line.removeprefix(done) for line in printed.getvalue().splitlines(keepends=True)))
    return code


def _rejoined(environment: MutableMapping[str, str]) -> str:
    """Puts together what bash takes for several words, `alignkit:x` and `KEY=VALUE`; what it has of the last one.

    bash ends a word at `:` and `=` and replaces what comes after.
    """
    separator = "\n" if "\n" in environment["COMP_WORDS"] else " "
    words = environment["COMP_WORDS"].split(separator)[: int(environment["COMP_CWORD"]) + 1]
    joined: list[list[str]] = []
    for word in words:
        if joined and word and (_BREAK.fullmatch(word) or _BREAK.fullmatch(joined[-1][-1])):
            joined[-1].append(word)
        else:
            joined.append([word])
    environment["COMP_WORDS"] = separator.join(map("".join, joined))
    environment["COMP_CWORD"] = str(len(joined) - 1)
    last = joined[-1]
    return "".join(last if _BREAK.fullmatch(last[-1]) else last[:-1])
