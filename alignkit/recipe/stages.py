"""Stages: several recipes in one file, each on top of what they share.

A file's own keys win over all that it extends, and a stage's own keys over those at the top of the same file:

    what the file extends, what its stage extends, the keys at the top of the file, the keys of the stage

A file that extends a pipeline is the next layer, and so is `--set`: `training.steps: 5` at the top of either is said to
every stage, `stages.dpo.training.steps: 5` to one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from alignkit.errors import Problem, RecipeError, printable, shown
from alignkit.recipe.composing import REMOVE, applied, compose, first_key, is_path, steps_of
from alignkit.recipe.header import EXTENDS_KEY
from alignkit.recipe.tree import Node, dotted, merge
from alignkit.recipe.yaml import MAX_NODES
from alignkit.registry import nearest_of

STAGES_KEY: Final = "stages"
RESULT_OF: Final = "stage:"
"""Before the name of an earlier stage, in place of the path of a model: its trained model."""
MAX_STAGES: Final = 20
NAME: Final = "[A-Za-z][A-Za-z0-9_-]{0,63}"
"""Regular expression of a stage's name; a folder is called after it."""


@dataclass(frozen=True)
class Roots:
    """The trees of a file on top of everything it extends.

    Attributes:
        shared: the recipe; of a pipeline, what a stage begins with that is not there yet.
        stages: name -> recipe of each stage, in their order; empty when the file is one recipe.
    """

    shared: Node
    stages: Mapping[str, Node] = field(default_factory=dict)

    @property
    def root(self) -> Node:
        """All of it in one tree: the recipe, or `stages` with the recipe of each."""
        place = self.shared.place
        return Node({STAGES_KEY: Node(dict(self.stages), place)}, place) if self.stages else self.shared


@dataclass(frozen=True)
class Own:
    """What one file, or one of its stages, says itself.

    Attributes:
        node: all of it.
        body: keys and values.
        paths: dotted path, with `~` before it or without -> value.
        stages: what its stages say.
        stage_paths: those paths that lead into a stage.
    """

    node: Node
    body: Node
    paths: dict[str, Node]
    stages: Mapping[str, Own] = field(default_factory=dict)
    stage_paths: Mapping[str, Node] = field(default_factory=dict)


def own_of(root: Node, apart: Iterable[str]) -> tuple[Own, list[Problem]]:
    """What the tree of one file says, and what is wrong with its stages.

    Args:
        root: the file.
        apart: keys that say how to read it.
    """
    said = _own(root, {*apart, STAGES_KEY})
    inner = {key: node for key, node in said.paths.items() if first_key(key) == STAGES_KEY}
    paths = {key: node for key, node in said.paths.items() if key not in inner}
    stages, problems = _stages_of(root.value.get(STAGES_KEY))
    return replace(said, paths=paths, stages=stages, stage_paths=inner), problems


def layered(bases: Sequence[Roots], own: Own, extended: Mapping[str, Sequence[Node]]) -> tuple[Roots, list[Problem]]:
    """What a file makes of what it extends, and what is wrong with single keys.

    Args:
        bases: what the file extends, the later the higher.
        own: what it says itself.
        extended: stage -> what the file's stage of that name extends.

    Raises:
        RecipeError: too many stages, or too much in them.
    """
    under = _stacked(bases, own.node)
    shared, problems = compose(merge(under.shared, own.body), own.paths)
    names = dict.fromkeys([*under.stages, *own.stages])
    if not names and not own.stage_paths:
        return Roots(shared), problems
    if len(names) * sum(map(_size, (own.body, *own.paths.values()))) > MAX_NODES:
        raise _too_much(own.node)
    found: dict[str, list[Problem]] = {}
    lower, stages = {}, {}
    for name in names:
        stage = under.stages.get(name, under.shared)
        for node in extended.get(name, ()):
            stage = merge(stage, node)
        lower[name], found[name] = compose(merge(stage, own.body), own.paths)
        stages[name], more = _with(lower[name], own.stages.get(name))
        found[name] += more
    roots = _bounded(Roots(shared, stages), own.node)
    # A path at the top may lead into what only the stages give: that the shared part lacks it is no mistake.
    problems = joined(found) if names else problems
    for key, node in own.stage_paths.items():
        try:
            roots = _changed_stage(roots, key, node, lower)
        except RecipeError as error:
            problems += error.problems
    return roots, problems


def changed(roots: Roots, key: str, node: Node) -> Roots:
    """`roots` with one path set or, with `~` before it, taken away, as a file that extends them could.

    Raises:
        RecipeError: the path leads nowhere.
    """
    if first_key(key) == STAGES_KEY:
        return _changed_stage(roots, key, node, {})
    if not roots.stages:
        return Roots(applied(roots.shared, key, node))
    found: dict[str, list[Problem]] = {name: [] for name in roots.stages}
    stages = dict(roots.stages)
    for name, stage in roots.stages.items():
        try:
            stages[name] = applied(stage, key, node)
        except RecipeError as error:
            found[name] += error.problems
    if problems := joined(found):
        raise RecipeError(problems)
    return replace(roots, stages=stages)


def inside(name: str, problem: Problem) -> Problem:
    """A problem of a stage, by its key in the whole."""
    return replace(problem, key=".".join(filter(None, (STAGES_KEY, name, problem.key))))


def joined(found: Mapping[str, Sequence[Problem]]) -> list[Problem]:
    """Problems of stages by their keys in the whole; what all have is a problem of what they share, and told once."""
    common = set.intersection(*map(set, found.values())) if len(found) > 1 else set()
    rest = [inside(name, problem) for name, problems in found.items() for problem in problems if problem not in common]
    return [*dict.fromkeys(one for problems in found.values() for one in problems if one in common), *rest]


def _own(node: Node, apart: Iterable[str]) -> Own:
    values = {key: inner for key, inner in node.value.items() if key not in apart}
    body = Node({key: inner for key, inner in values.items() if not is_path(key)}, node.place)
    return Own(node, body, {key: inner for key, inner in values.items() if is_path(key)})


def _stages_of(node: Node | None) -> tuple[dict[str, Own], list[Problem]]:
    if node is None:
        return {}, []
    if not isinstance(node.value, dict) or not node.value:
        message = f"expected a mapping of names to what each stage says, got {shown(node.plain())}"
        return {}, [Problem(str(node.place), STAGES_KEY, message)]
    if len(node.value) > MAX_STAGES:
        return {}, [Problem(str(node.place), STAGES_KEY, f"more than {MAX_STAGES} stages")]
    stages, problems = {}, []
    for name, stage in node.value.items():
        try:
            stages[name] = _stage(name, stage, {EXTENDS_KEY})
        except RecipeError as error:
            problems += error.problems
    return stages, problems


def _stage(name: str, node: Node, apart: Iterable[str]) -> Own:
    """What is said of one stage.

    Raises:
        RecipeError: it has no name that a folder could have, or is no mapping of a recipe's keys.
    """
    key = printable(f"{STAGES_KEY}.{name}")
    if not re.fullmatch(NAME, name):
        message = f"{shown(name)} cannot be the name of a stage; take a letter, then letters, digits, '_' and '-'"
        raise RecipeError([Problem(str(node.place), STAGES_KEY, message)])
    if not isinstance(node.value, dict | None):
        message = f"expected a mapping of a recipe's keys, got {shown(node.plain())}"
        raise RecipeError([Problem(str(node.place), key, message)])
    node = node if node.value else replace(node, value={})
    for inner, value in node.value.items():
        if inner not in apart:
            _refuse_apart(name, inner, value)
    return _own(node, apart)


def _refuse_apart(name: str, key: str, node: Node) -> None:
    """Refuses a key that says how to read a file, where it cannot stand."""
    said = {EXTENDS_KEY: "can only stand under 'stages:' of a recipe file", STAGES_KEY: "a stage has none itself"}
    if key in said:
        raise RecipeError([inside(name, Problem(str(node.place), key, said[key]))])


def _with(stage: Node, own: Own | None) -> tuple[Node, list[Problem]]:
    """A stage with what a file says of it on top."""
    return (stage, []) if own is None else compose(merge(stage, own.body), own.paths, stage)


def _stacked(bases: Sequence[Roots], root: Node) -> Roots:
    if not bases:
        return Roots(Node({}, root.place))
    merged, *rest = bases
    for base in rest:
        names = dict.fromkeys([*merged.stages, *base.stages])
        stages = {
            name: merge(merged.stages.get(name, merged.shared), base.stages.get(name, base.shared)) for name in names
        }
        merged = _bounded(Roots(merge(merged.shared, base.shared), stages), root)
    return merged


def _bounded(roots: Roots, root: Node) -> Roots:
    """Refuses more than a recipe may hold, before it costs anything."""
    if len(roots.stages) > MAX_STAGES:
        raise RecipeError([Problem(str(root.place), STAGES_KEY, f"more than {MAX_STAGES} stages")])
    if roots.stages and sum(map(_size, roots.stages.values())) > MAX_NODES:
        raise _too_much(root)
    return roots


def _too_much(root: Node) -> RecipeError:
    return RecipeError([Problem(str(root.place), STAGES_KEY, f"hold more than {MAX_NODES} values together")])


def _size(node: Node) -> int:
    below = node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else ()
    return 1 + sum(map(_size, below))


def _changed_stage(roots: Roots, key: str, node: Node, lower: Mapping[str, Node]) -> Roots:
    """`roots` with a path into a stage set or taken away.

    Args:
        roots: all stages.
        key: the path, from `stages` on.
        node: its value.
        lower: what each stage was before the file that gives the path said anything of it.
    """
    remove = REMOVE if key.startswith(REMOVE) else ""
    _, *steps = steps_of(key.removeprefix(REMOVE), node.place)
    if not roots.stages:
        raise RecipeError([Problem(str(node.place), printable(key), "this recipe has no stages")])
    if not steps:
        message = "name one of the stages: stages.NAME, or stages.NAME.KEY"
        raise RecipeError([Problem(str(node.place), printable(key), message)])
    name, *rest = steps
    if name not in roots.stages:
        near = nearest_of(name, roots.stages)
        hint = f"did you mean {shown(near)}? " if near else ""
        message = f"there is no stage {shown(name)}; {hint}stages: {', '.join(roots.stages)}"
        raise RecipeError([Problem(str(node.place), printable(key), message)])
    if remove and not rest:
        kept = {other: stage for other, stage in roots.stages.items() if other != name}
        if not kept:
            raise RecipeError([Problem(str(node.place), printable(key), "the last stage cannot be taken away")])
        return replace(roots, stages=kept)
    stage = roots.stages[name]
    if not rest:
        stage, problems = _with(stage, _stage(name, node, ()))
    else:
        _refuse_apart(name, rest[0], node)
        stage, problems = compose(stage, {f"{remove}{dotted(rest)}": node}, lower.get(name, stage))
    if problems:
        raise RecipeError([inside(name, problem) for problem in problems])
    return replace(roots, stages={**roots.stages, name: stage})
