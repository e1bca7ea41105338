"""What is wrong with a recipe, one line per problem: place, key, what was given, what would be right.

pydantic's errors are translated here and nowhere else; no message of its own reaches a user.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import core_schema

from alignkit.errors import Problem, printable, shown
from alignkit.recipe.other_names import instead_of_component
from alignkit.recipe.parts import Part, parts
from alignkit.recipe.tree import Node, Path, dotted, nearest
from alignkit.recipe.unknown_keys import unknown_key
from alignkit.registry import Section, choices, suggestion

_PYDANTICS_OWN = frozenset(get_args(core_schema.ErrorType))
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "none_required": "null",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "multiple_of": "must be a multiple of {multiple_of:g}",
    "string_pattern_mismatch": "must have the form {pattern}",
}
_LENGTHS = {
    "too_short": "too few items: needs at least {min_length}, got {actual_length}",
    "too_long": "too many items: takes at most {max_length}, got {actual_length}",
    "string_too_short": "too short, fewest characters: {min_length}",
    "string_too_long": "too long, most characters: {max_length}",
}


def problems_of(error: ValidationError, model: type[Section], root: Node) -> list[Problem]:
    """Every problem that pydantic found in the tree `root` of a `model`, not yet sorted."""
    known = {part.path: part for part in parts(model, root)}
    return [
        placed(root, path, _message(group, path, root, known))
        for path, group in _by_path(_flat(error.errors(include_url=False)), root).items()
    ]


def placed(root: Node, path: Path, message: str) -> Problem:
    """A problem with the value at `path`, at the place of its nearest written ancestor."""
    return Problem(str(nearest(root, path)[0].place), dotted(path), message)


def _flat(errors: Iterable[Mapping[str, Any]], outer: Path = ()) -> Iterator[dict[str, Any]]:
    """All errors with their whole path; those inside a slot arrive as one error that carries them."""
    for error in errors:
        loc = (*outer, *error["loc"])
        if error["type"] == "slot_invalid":
            yield from _flat(error["ctx"]["errors"], loc)
        elif error["type"] == "missing" and isinstance(loc[-1], int):  # a list of fixed length
            count = {"min_length": loc[-1] + 1, "actual_length": loc[-1]}
            yield {**error, "type": "too_short", "loc": loc[:-1], "ctx": count}
        elif error["type"] != "too_short" or len(error["input"]) < error["ctx"]["min_length"]:
            # (pydantic does not count items that are wrong themselves)
            yield {**error, "loc": loc}


def _by_path(errors: Iterable[dict[str, Any]], root: Node) -> dict[Path, list[dict[str, Any]]]:
    """Errors by the key they are about.

    Where a value may have one of several types, pydantic reports each attempt under a path with a label in it; such
    attempts are joined, and the attempt that got deepest into the value is what the user meant.
    """
    groups: dict[Path, list[dict[str, Any]]] = {}
    attempts: dict[Path, Path] = {}
    for error in errors:
        path, label = _real_path(error, root)
        if label is not None:
            best = attempts.get(label, path)
            if len(path) < len(best):
                continue
            if len(path) > len(best):
                groups.pop(best)
            attempts[label] = path
        groups.setdefault(path, []).append(error)
    return groups


def _real_path(error: Mapping[str, Any], root: Node) -> tuple[Path, Path | None]:
    """The path without pydantic's labels, and the path of the value that has several types, if one is on the way."""
    path: Path = ()
    label: Path | None = None
    for position, step in enumerate(error["loc"]):
        is_last = position == len(error["loc"]) - 1
        _, depth = nearest(root, (*path, step))
        if depth == len(path) + 1 or (is_last and error["type"] == "missing"):
            path = (*path, step)
        else:
            label = path
    if error["type"] in ("slot_name", "slot_unknown") and isinstance(nearest(root, path)[0].value, dict):
        path = (*path, "name")
    return path, label


def _message(group: list[dict[str, Any]], path: Path, root: Node, known: Mapping[Path, Part]) -> str:
    """What is wrong at `path`; several errors there are several types that the value could have."""
    expected = [text for text in map(_expectation, group) if text]
    if expected and len(expected) == len(group) and not _is_unknown_choice(group):
        return f"expected {' or '.join(dict.fromkeys(expected))}, got {_given(group[0])}"
    error = next((error for error in group if not _expectation(error)), group[0])
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(path, root, known)
    if kind == "missing":
        return f"missing required key: {_described(known.get(path[:-1]), str(path[-1]))}"
    if kind == "literal_error":
        return _unknown_choice(error, path, known)
    if kind in _BOUNDS:
        return f"{_BOUNDS[kind].format(**context)}, got {_short(error['input'])}"
    if kind in _LENGTHS:
        return _LENGTHS[kind].format(**context)
    if kind == "slot_name":
        return f"missing{_default_apart(path, known)}; choose one of: {', '.join(context['registry'].names())}"
    if kind == "slot_unknown":
        return _unknown_component(context, known)
    if kind in _PYDANTICS_OWN:
        return str(context.get("error", f"{printable(error['msg'])}, got {_given(error)}"))
    return str(error["msg"])  # a component's own sentence


def _default_apart(path: Path, known: Mapping[Path, Part]) -> str:
    """That a mapping is not merged into the slot's default, where it has one."""
    outer, slot = known.get(path[:-2]), str(path[-2]) if len(path) > 1 else ""
    field = outer.cls.model_fields.get(slot) if outer else None
    default = None if field is None or field.is_required() else field.get_default(call_default_factory=True)
    return f", as a mapping stands for itself and not for the default '{default.name}'" if default else ""


def _expectation(error: Mapping[str, Any]) -> str | None:
    """What the value should have been, for errors that are about its type."""
    if error["type"] == "slot_type":
        return f"the name of {error['ctx']['registry'].one} or a mapping with 'name'"
    if error["type"] == "literal_error":
        literals = _literals(error)
        return f"one of: {', '.join(literals)}" if len(literals) > 1 else f"'{literals[0]}'"
    if error["type"] == "slot_name" and "name" in error["input"]:
        return f"the name of {error['ctx']['registry'].one}"
    return _EXPECTED.get(error["type"])


def _is_unknown_choice(group: list[dict[str, Any]]) -> bool:
    error = group[0]
    is_text = isinstance(error["input"], str) and len(group) == 1 and error["type"] == "literal_error"
    return is_text and error["input"] not in _literals(error)  # '2' where 2 is allowed is a wrong type


def _literals(error: Mapping[str, Any]) -> list[str]:
    """The allowed values, from pydantic's `'a', 'b' or 'c'`."""
    return [word.strip("'") for word in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]


def _unknown_choice(error: Mapping[str, Any], path: Path, known: Mapping[Path, Part]) -> str:
    given = error["input"]
    homes = [
        dotted((*part.path, key))
        for part in known.values()
        for key, field in part.cls.model_fields.items()
        if given in choices(field.annotation) and (*part.path, key) != path
    ]
    hint = f"it is a value of '{homes[0]}'; " if homes else ""
    return f"unknown value {shown(given)}; {hint}{suggestion(given, _literals(error))}"


def _unknown_component(context: Mapping[str, Any], known: Mapping[Path, Part]) -> str:
    registry, name = context["registry"], context["name"]
    if name in registry.names():  # but it cannot be used
        return str(context["message"])
    names = f"known: {', '.join(registry.names())}"
    others = {part.registry.kind: part.registry for part in known.values() if part.registry}
    homes = [other.one for other in others.values() if other is not registry and name in other.names()]
    if homes:
        return f"{shown(name)} is {homes[0]}, not {registry.one}; {names}"
    if hint := instead_of_component(registry.kind, name, registry.names()):
        return f"unknown {registry.kind} {shown(name)}; {hint}; {names}"
    return str(context["message"])


def _described(part: Part | None, key: str) -> str:
    """The first sentence about a key."""
    description = (part and part.cls.model_fields[key].description) or "it has no default"
    return " ".join(description.split()).split(". ")[0].rstrip(".")


def _given(error: Mapping[str, Any]) -> str:
    """What was given, in words: `'abc' (a string)`."""
    value = error["input"]["name"] if error["type"] == "slot_name" else error["input"]
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"{_short(value)} (a string)"
    if isinstance(value, int | float):
        return f"{_short(value)} (a number)"
    return "a list" if isinstance(value, list) else "a mapping"


def _short(value: object) -> str:
    return shown(value, 60)
