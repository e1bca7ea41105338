"""Imports run one way, type imports included: a room looks at those below it, and no modules stand in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "alignkit"
ROOMS = (
    *("__main__", "cli", "authoring", "checkup", "evaluating", "inspection", "reproduce", "launch"),
    *("frontier", "sweep", "compare", "pipeline", "plan", "run", "keeping", "inspector", "prepared"),
    *("use", "result", "declared", "conformance", "templates", "report", "folder", "recipe", "doctor"),
    *("evaluation", "engine", "weighting", "contrasts", "views", "losses", "pair_weighting", "scores", "asks"),
    "benchmarks",
    *(
        "rewards",
        "advantages",
        "rollouts",
        "models",
        "loop",
        "parallel",
        "data",
        "world",
        "progress",
        "determinism",
        "quiet",
        "libraries",
    ),
    *("registry", "entry_points", "trusted", "page", "records", "intervals", "seeds", "finite", "lazy", "errors"),
)
"""From the top of the house down; docs/design.md says what each is for."""


def modules() -> dict[str, Path]:
    """`alignkit.losses.dpo` -> its file."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "alignkit":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "alignkit")


ARROWS = {name: sorted(set(imported(path)) - {name}) for name, path in MODULES.items()}


def room(module: str) -> str:
    """The first name below the package; the package's own face is none."""
    return module.split(".")[1] if "." in module else ""


def test_every_room_has_its_floor() -> None:
    assert {room(name) for name in MODULES} - {""} == set(ROOMS)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_arrow_runs_up(name: str) -> None:
    if not room(name):
        return
    floor = ROOMS.index(room(name))
    upward = [other for other in ARROWS[name] if room(other) and ROOMS.index(room(other)) < floor]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(ARROWS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
