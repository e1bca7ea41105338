"""YAML with line numbers, and nothing that surprises.

Scalars follow the YAML 1.2 core schema: `5e-7` is a number, `no` is a string. Duplicate keys, merge keys, tags and
whatever would blow up when expanded are refused, each in one line.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from alignkit.errors import Problem
from alignkit.recipe.tree import Node, Place

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 20_000
"""Values after aliases are expanded; a recipe has some hundred."""

_SCALARS: Final = (
    (re.compile(r"(~|null|Null|NULL|)"), lambda text: None),
    (re.compile(r"(true|True|TRUE|false|False|FALSE)"), lambda text: text.lower() == "true"),
    (re.compile(r"[-+]?[0-9]{1,300}"), int),
    (re.compile(r"0o[0-7]{1,300}"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]{1,300}"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)


def plain_scalar(text: str) -> Any:  # noqa: ANN401 -- null, boolean, number or text
    """The value of an unquoted scalar under the YAML 1.2 core schema."""
    return next((convert(text) for pattern, convert in _SCALARS if pattern.fullmatch(text)), text)


class _Refused(Exception):
    """Ends the reading of a document with one problem."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        self.message = message


class _Composer(yaml.SafeLoader):
    """PyYAML's scanner and composer, stopped before deep nesting exhausts the stack."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 -- PyYAML's
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it open
        line = event.start_mark.line + 1
        if tag := getattr(event, "tag", None):
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            raise _Refused(line, f"the tag '{shown}' is not allowed; write the value without it")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(line, f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Converter:
    """Turns PyYAML's nodes into ours and collects what is wrong with single keys."""

    def __init__(self, source: str, first_line: int) -> None:
        self.source = source
        self.first_line = first_line
        self.problems: list[Problem] = []
        self.count = 0

    def place(self, node: yaml.Node) -> Place:
        return Place(self.source, self.first_line and self.first_line + node.start_mark.line)

    def convert(self, node: yaml.Node, place: Place, depth: int = 0) -> Node:
        """The tree under `node`, whose own place is `place` (its key's)."""
        self.count += 1
        if self.count > MAX_NODES:
            raise _Refused(node.start_mark.line + 1, f"holds more than {MAX_NODES} values once aliases are expanded")
        if depth > MAX_DEPTH:
            raise _Refused(node.start_mark.line + 1, "an alias contains itself")
        if isinstance(node, yaml.MappingNode):
            return Node(self.mapping(node, depth), place)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.convert(item, self.place(item), depth + 1) for item in node.value], place)
        assert isinstance(node, yaml.ScalarNode), "YAML has no fourth kind"
        return Node(node.value if node.style else plain_scalar(node.value), place)

    def mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = self.place(key_node)
            key = key_node.value
            value = self.convert(value_node, place, depth + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                self.complain(place, "", "a key must be text, not a list or a mapping")
            elif not key_node.style and not isinstance(plain_scalar(key), str):
                self.complain(place, "", f"the key {key or 'null'} must be text; put it in quotes")
            elif key == "<<" and not key_node.style:
                self.complain(place, key, "merge keys are not supported; use 'extends' to build on another recipe")
            elif key in entries:
                self.complain(place, key, f"given twice; first on line {entries[key].place.line}")
            else:
                entries[key] = value
        return entries

    def complain(self, place: Place, key: str, message: str) -> None:
        self.problems.append(Problem(str(place), key, message))


def read_yaml(content: bytes | str, source: str, first_line: int = 1) -> tuple[Node | None, list[Problem]]:
    """The one document in `content`, and all that is wrong with it; no tree when it cannot be read at all.

    Args:
        content: bytes of a file, or text.
        source: the file or argument it came from, for messages.
        first_line: line number of the first line; 0 for a source without lines.
    """
    converter = _Converter(source, first_line)
    try:
        if len(content) > MAX_BYTES:
            raise _Refused(1, f"larger than {MAX_BYTES // 1024} KiB; is this a recipe?")
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        node = _Composer(text).get_single_node()
        if node is None:
            return None, []
        return converter.convert(node, converter.place(node)), converter.problems
    except _Refused as error:
        line, message = error.line, error.message
    except UnicodeDecodeError as error:
        line, message = error.object[: error.start].count(b"\n") + 1, "not UTF-8 text"
    except yaml.reader.ReaderError as error:
        line, message = text[: error.position].count("\n") + 1, f"the character {chr(error.character)!r} is not allowed"
    except yaml.MarkedYAMLError as error:
        line, message = _described(error)
    place = Place(source, first_line and first_line + line - 1)
    return None, [*converter.problems, Problem(str(place), "", message)]


def _described(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """Line and one-line message of a syntax error."""
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "cannot be read"
    message = f"{error.context}, {problem}" if error.context else problem
    if "'\\t'" in problem:
        message = "a tab where YAML wants spaces"
    return (mark.line + 1 if mark else 1), f"not valid YAML: {message}"
