"""A recipe as YAML text, one value a line, with comments beside the values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from alignkit.recipe.tree import Path, dotted
from alignkit.recipe.yaml import plain_scalar

_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+-]*(:[A-Za-z0-9_./+-]+)*")


def render(tree: Mapping[str, object], comments: Mapping[str, str]) -> str:
    """`tree` as YAML; `comments` maps the dotted paths of single values to what stands beside them."""
    lines = list(_lines(tree, (), ""))
    width = max((len(text) for text, path in lines if dotted(path) in comments), default=0)
    return "".join(
        f"{text:<{width}}  # {comments[dotted(path)]}\n" if dotted(path) in comments else f"{text}\n"
        for text, path in lines
    )


def _lines(value: object, path: Path, lead: str) -> Iterator[tuple[str, Path]]:
    """Lines of `value` with the path of the single value on each; `lead` precedes the first one."""
    indent = re.sub(r"[^ ]", " ", lead)
    if isinstance(value, Mapping) and value:
        for number, (key, item) in enumerate(value.items()):
            yield from _entry(item, (*path, key), f"{indent if number else lead}{scalar(key)}:")
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _lines(item, (*path, number), f"{indent if number else lead}- ")
    else:
        yield f"{lead}{scalar(value)}", path


def _entry(value: object, path: Path, head: str) -> Iterator[tuple[str, Path]]:
    """Lines of one key, `head` being all up to its colon."""
    if isinstance(value, Mapping | list) and value:
        yield head, path
        indent = re.match(r"[ -]*", head)
        assert indent is not None
        yield from _lines(value, path, " " * (indent.end() + 2))
    else:
        yield f"{head} {scalar(value)}", path


def scalar(value: object) -> str:
    """One value as YAML 1.2: text that would read as something else is quoted."""
    if isinstance(value, str):
        plain = _NEEDS_NO_QUOTES.fullmatch(value) and plain_scalar(value) == value
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
