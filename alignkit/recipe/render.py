"""A recipe as YAML text, one value a line, with comments beside the values.

What is written reads as the same values under YAML 1.2, as here, and under YAML 1.1, as PyYAML and many tools have it:
text that either takes for something else is quoted, and numbers have the form that is a number in both.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Final

import yaml

from alignkit.errors import printable
from alignkit.recipe.tree import Path, dotted
from alignkit.recipe.yaml import plain_scalar

_NEEDS_NO_QUOTES: Final = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+-]*(:[A-Za-z0-9_./+-]+)*")


def render(tree: Mapping[str, object], comments: Mapping[str, str]) -> str:
    """`tree` as YAML; `comments` maps the dotted paths of single values to what stands beside them."""
    lines = list(_lines(tree, (), ""))
    comments = {path: printable(comment) for path, comment in comments.items()}  # a line end would end the comment
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
    """One value as YAML on one line, the same in versions 1.1 and 1.2."""
    if isinstance(value, str):
        return value if _NEEDS_NO_QUOTES.fullmatch(value) and _is_text(value) else _quoted(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return f"[{', '.join(map(scalar, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{scalar(key)}: {scalar(item)}' for key, item in value.items())}}}"
    return json.dumps(value)


def _is_text(plain: str) -> bool:
    """Whether an unquoted scalar is the text that it looks like under both versions of YAML."""
    tag = _RESOLVER.resolve(yaml.ScalarNode, plain, (True, False))  # type: ignore[no-untyped-call]  # the stubs' gap
    return tag == "tag:yaml.org,2002:str" and plain not in _BOOLEANS_OF_1_1 and plain_scalar(plain) == plain


_RESOLVER: Final = yaml.resolver.Resolver()
_BOOLEANS_OF_1_1: Final = frozenset("yYnN")  # by the specification; PyYAML leaves these text


def _quoted(text: str) -> str:
    """Double quotes, with an escape for every character that a reader, an editor or a terminal may treat specially."""
    return '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"'), limit=None) + '"'


def _number(value: float) -> str:
    """`5.0e-06`: YAML 1.1 wants a point and a sign where `5e-06` is a number in 1.2 only."""
    if not math.isfinite(value):
        return str(value).replace("inf", ".inf").replace("nan", ".nan")
    mantissa, exponent, power = repr(value).partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}{exponent}{power}"
