"""`alignkit new`: a plugin that works at once, or a recipe that builds on another one; nothing is overwritten."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

import alignkit
from alignkit.cli import completion
from alignkit.cli.usage import Verb, Verbs
from alignkit.errors import RecipeError, printable, shown
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.libraries.known as known
    import alignkit.recipe.kinds as kinds
    import alignkit.recipe.libraries as libraries
    import alignkit.recipe.load as load
    import alignkit.recipe.render as rendering
    import alignkit.recipe.tree as tree
    import alignkit.records.files as files
else:
    files = LazyModule("alignkit.records.files")
    kinds = LazyModule("alignkit.recipe.kinds")
    known = LazyModule("alignkit.libraries.known")
    libraries = LazyModule("alignkit.recipe.libraries")
    load = LazyModule("alignkit.recipe.load")
    rendering = LazyModule("alignkit.recipe.render")
    tree = LazyModule("alignkit.recipe.tree")

app = typer.Typer(cls=Verbs, help="Write a plugin or a recipe to begin with.")

HOMES: Final = {
    "weighting": "alignkit.weighting",
    "pair_weighting": "alignkit.pair_weighting",
    "loss": "alignkit.losses",
    "trainer": "alignkit.views",
    "anchor": "alignkit.rollouts",
    "contrast": "alignkit.contrasts",
    "statistic": "alignkit.models.statistics",
    "source": "alignkit.data.sources",
    "measure": "alignkit.evaluation",
    "benchmark": "alignkit.benchmarks",
    "reward": "alignkit.rewards",
    "advantage": "alignkit.advantages",
    "sampler": "alignkit.rollouts",
}
"""Kind that has a template -> the module of its registry."""

SLOTS: Final = {
    "weighting": "weighting={name}",
    "pair_weighting": "pair_weighting={name}",
    "loss": "'losses=[{name}]'",
    "trainer": "trainer={name}",
    "anchor": "losses.triplet.anchor={name}",
    "contrast": "weighting='{{name: tis, contrast: {name}}}'",
    "statistic": "weighting='{{name: statistic, statistic: {name}}}'",
    "source": "data.train='{{name: {name}}}' --set data.world=null --set data.holdout=10",
    "measure": "'evaluation.measures=[{name}]'",
    "benchmark": "'evaluation.benchmarks=[{name}]'",
    "reward": "'rewards=[{name}]'",
    "advantage": "advantage={name}",
    "sampler": "sampler={name}",
}
"""How a recipe names a component of a kind."""

BASES: Final = dict.fromkeys(("reward", "advantage", "sampler"), "methods/grpo")
"""The shipped recipe that a component of a kind goes into, where `tidpo` has no such slot."""

QUICK: Final = {"contrast": ("steps=1",)}
"""Parameters with which a component of a kind is checked, where the defaults take long."""

PYPROJECT: Final = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "alignkit-{hyphens}"
version = "0.1.0"
description = "A {words} for alignkit"
requires-python = ">=3.11"
dependencies = ["alignkit>=0.1"]

[project.entry-points."alignkit.{kind}"]
{name} = "{name}:{cls}"

[tool.setuptools]
py-modules = ["{name}"]

[tool.pytest.ini_options]
pythonpath = ["."]
"""

TEST: Final = '''\
"""It keeps what every {words} promises. Values worked out by hand belong here too."""

from __future__ import annotations

from alignkit.conformance import check_component
from {name} import {cls}


def test_it_keeps_its_promises() -> None:
    check_component({cls}{parameters})
'''

CHANGED_OFTEN: Final = ("seed", "training.steps", "training.epochs", "training.batch_size", "training.learning_rate")
"""Keys of a recipe that are offered to be changed, beside those of its weighting and losses."""


@app.callback(invoke_without_command=True)
def new(context: typer.Context) -> None:
    """Write a plugin or a recipe to begin with."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("plugin", cls=Verb)
def plugin(
    name: Annotated[str, typer.Argument(help="What recipes will call the component, such as first_tokens.")],
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help=f"Of the component: {', '.join(HOMES)}.",
            autocompletion=completion.kinds_of_components,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where it is written; by default the working folder.")
    ] = None,
    single_file: Annotated[
        bool, typer.Option("--single-file", help="One file for `alignkit plugins trust`, in place of a package.")
    ] = False,
) -> None:
    """Write a plugin with one component that works at once, and its test."""
    target = (output or Path()) / (f"{name}.py" if single_file else name)
    _refuse_existing(target)
    _refuse(name, kind)
    written = {target: _module(name, kind, registers=True)} if single_file else _package(target, name, kind)
    _write(written)
    typer.echo(f"wrote {', '.join(printable(str(path)) for path in written)}; then:")
    quoted, setting = shlex.quote(str(target)), SLOTS[kind].format(name=name)
    check = " --set ".join([f"alignkit check-component {quoted}", *QUICK.get(kind, ())])
    base = BASES.get(kind, "tidpo")
    trust = f"alignkit plugins trust {quoted}" if single_file else f"pip install -e {quoted}"
    for line in (check, trust, f"alignkit run alignkit:{base}.yaml --set {setting}"):
        typer.echo(f"  {printable(line, None)}")


@app.command("recipe", cls=Verb)
def recipe(
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="The file to write; by default named after the other one.")
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="RECIPE",
            help="The recipe to build on: a shipped one's name, or a file.",
            autocompletion=completion.recipes,
        ),
    ] = "tidpo",
) -> None:
    """Write a recipe that builds on another one, with the keys that are changed most often as comments."""
    is_file = ":" in base or base.endswith((".yaml", ".yml")) or os.path.isfile(base)
    source = libraries.source(base if is_file else f"alignkit:{base}", known.Libraries.here())
    loaded = load.load_recipe(Path(source.name))
    target = path or Path(f"{Path(source.name.rpartition(':')[2]).stem}.yaml")
    _refuse_existing(target)
    extends = source.name if source.library else os.path.relpath(source.path, target.parent)
    lines = [
        f"# alignkit run {target}",
        f"# What it inherits, and from where: alignkit show --origin {target}",
        f"extends: {rendering.scalar(extends)}",
        "",
        "# Take the '#' away from what shall be another value here.",
        *(f"# {line}" for line in _offered(loaded)),
    ]
    _write({target: "\n".join([*lines, ""])})
    typer.echo(f"wrote {printable(str(target))}, which builds on {printable(extends)}")


def _offered(loaded: load.LoadedRecipe) -> Iterator[str]:
    """`KEY: VALUE` of what is changed most often."""
    for path, value in tree.leaves(loaded.tree()):
        key = tree.dotted(path)
        is_given = path[0] in ("weighting", "losses") and loaded.origin_of(path) != load.DEFAULT
        if value is not None and (key in CHANGED_OFTEN or (is_given and path[-1] != "name")):
            yield f"{key}: {rendering.scalar(value)}"


def _refuse(name: str, kind: str) -> None:
    """Stops where no plugin can be written."""
    registry = kinds.registry_of(kind)
    if kind not in HOMES:
        raise RecipeError(
            f"--kind {shown(kind)}: there is no template, as model 'pretrained' takes any folder or Hub id; templates: "
            f"{', '.join(HOMES)}"
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name) or keyword.iskeyword(name):
        raise RecipeError(f"expected a name of small letters, digits and '_', such as first_tokens, got {shown(name)}")
    if name in registry.names():
        raise RecipeError(f"{kind} '{name}' is {registry.owner(name)} already; choose another name")
    if importlib.util.find_spec(name) is not None:
        raise RecipeError(
            f"Python has a module '{name}' already, and a plugin of that name would hide it; take another"
        )


def _package(folder: Path, name: str, kind: str) -> dict[Path, str]:
    words = {"name": name, "kind": kind, "cls": _class_name(name), "words": kind.replace("_", " ")}
    parameters = "".join(f", {setting}" for setting in QUICK.get(kind, ()))
    return {
        folder / f"{name}.py": _module(name, kind, registers=False),
        folder / "pyproject.toml": PYPROJECT.format(**words, hyphens=name.replace("_", "-")),
        folder / "tests" / f"test_{name}.py": TEST.format(**words, parameters=parameters),
    }


def _module(name: str, kind: str, *, registers: bool) -> str:
    """The template of a kind under another name."""
    template = Path(alignkit.__file__).parent / "templates" / f"{kind}.py"
    text = template.read_text(encoding="utf-8").replace("Template", _class_name(name))
    if not registers:
        return text
    registry = kinds.plural(kind)
    text = text.replace(f"class {_class_name(name)}", f'@{registry}.register("{name}")\nclass {_class_name(name)}')
    imports = [line for line in text.splitlines() if line.startswith("from alignkit")]
    home = f"from {HOMES[kind]} import "
    with_registry = [f"{line}, {registry}" if line.startswith(home) else line for line in imports]
    if with_registry == imports:
        with_registry = sorted([*imports, f"{home}{registry}"])
    return text.replace("\n".join(imports), "\n".join(with_registry))


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise RecipeError(f"{printable(str(target))}: is there already, and nothing is overwritten; take another place")


def _write(content: Mapping[Path, str]) -> None:
    for path, text in content.items():
        with files.one_line(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, text)
