"""YAML with line numbers, and nothing that surprises.

Scalars follow the YAML 1.2 core schema: `5e-7` is a number, `no` is a string. Duplicate keys, merge keys, tags and
whatever would blow up when expanded are refused, each in one line. So are U+0085, U+2028 and U+2029 as such: they end a
line, and with it a comment, for YAML 1.1 and PyYAML, but not for YAML 1.2 and most editors, so that one file would hold
two recipes and the lines of messages would not be those that an editor counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

from alignkit.errors import Problem, printable, shown
from alignkit.recipe.tree import Node, Place

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 20_000
MAX_KEYS: Final = 5_000
"""Values after aliases are expanded; a recipe has some hundred."""
_TOO_MANY: Final = f"holds more than {MAX_NODES} values once aliases are expanded"
TOO_LARGE: Final = f"larger than {MAX_BYTES // 1024} KiB; is this a recipe?"

_LINE_END: Final = re.compile(r"\r\n?|\n")
_NOT_ALLOWED: Final = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HALVES: Final = re.compile(r"[\ud800-\udfff]")

Read = tuple[Node | None, list[Problem]]
"""A tree, unless there is none to be had, and what is wrong."""

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


@dataclass
class Budget:
    """What may still be read; shared by the files of one recipe."""

    values: int = MAX_NODES


class _Refused(Exception):
    """Ends the reading of a document with one problem."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        self.message = message


class _Composer(yaml.SafeLoader):
    """PyYAML's scanner and composer, stopped before deep nesting exhausts the stack or many values the time."""

    depth = 0

    def __init__(self, text: str, most_values: int) -> None:
        super().__init__(text)
        self.values_left = most_values

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 -- PyYAML's
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it open
        line = event.start_mark.line + 1
        if tag := getattr(event, "tag", None):
            name = shown(tag.replace("tag:yaml.org,2002:", "!!"))
            raise _Refused(line, f"the tag {name} is not allowed; write the value without it")
        self.values_left -= index is not None  # a value of a mapping or list, not a key
        if self.values_left < 0:
            raise _Refused(line, _TOO_MANY)
        if isinstance(parent, yaml.MappingNode) and len(parent.value) > MAX_KEYS:
            raise _Refused(line, f"a mapping of more than {MAX_KEYS} keys; is this a recipe?")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(line, f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Converter:
    """Turns PyYAML's nodes into ours and collects what is wrong with single keys."""

    def __init__(self, source: str, first_line: int, budget: Budget) -> None:
        self.source = source
        self.first_line = first_line
        self.problems: list[Problem] = []
        self.budget = budget

    def place(self, node: yaml.Node) -> Place:
        return Place(self.source, self.first_line and self.first_line + node.start_mark.line)

    def convert(self, node: yaml.Node, place: Place, depth: int = 0) -> Node:
        """The tree under `node`, whose own place is `place` (its key's)."""
        self.budget.values -= 1
        if self.budget.values < 0:
            raise _Refused(node.start_mark.line + 1, _TOO_MANY)
        if depth > MAX_DEPTH:
            raise _Refused(node.start_mark.line + 1, "an alias contains itself")
        if isinstance(node, yaml.MappingNode):
            return Node(self.mapping(node, depth), place)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.convert(item, self.place(item), depth + 1) for item in node.value], place)
        assert isinstance(node, yaml.ScalarNode), "YAML has no fourth kind"
        text = self.whole(node.value, node)
        return Node(text if node.style else plain_scalar(text), place)

    def whole(self, text: str, node: yaml.Node) -> str:
        """`text`, with the characters that JSON writes as two halves put together."""
        if not _HALVES.search(text):
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            half = _HALVES.search(text)
            assert half is not None
            line = node.start_mark.line + 1
            raise _Refused(line, f"{printable(half.group())} is half of a character and no text alone") from None

    def mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = self.place(key_node)
            key = self.whole(key_node.value, key_node) if isinstance(key_node, yaml.ScalarNode) else ""
            value = self.convert(value_node, place, depth + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                self.complain(place, "", "a key must be text, not a list or a mapping")
            elif not key_node.style and not isinstance(plain_scalar(key), str):
                self.complain(place, "", f"the key {printable(key) or 'null'} must be text; put it in quotes")
            elif key == "<<" and not key_node.style:
                self.complain(place, key, "merge keys are not supported; use 'extends' to build on another recipe")
            elif key in entries:
                line = entries[key].place.line
                self.complain(place, key, f"given twice; first on line {line}" if line else "given twice")
            else:
                entries[key] = value
        return entries

    def complain(self, place: Place, key: str, message: str) -> None:
        self.problems.append(Problem(str(place), key, message))


def read_yaml(content: bytes | str, source: str, first_line: int = 1, budget: Budget | None = None) -> Read:
    """The one document in `content`, and all that is wrong with it; no tree when it cannot be read at all.

    Args:
        content: bytes of a file, or text.
        source: the file or argument it came from, for messages.
        first_line: line number of the first line; 0 for a source without lines.
        budget: what may still be read, and is less afterwards; all that one file may hold by default.
    """
    budget = budget or Budget()
    converter = _Converter(source, first_line, budget)
    try:
        node = _composed(_decoded(content), budget.values)
        if node is None:
            return None, []
        return converter.convert(node, converter.place(node)), converter.problems
    except _Refused as error:
        place = Place(source, first_line and first_line + error.line - 1)
        return None, [*converter.problems, Problem(str(place), "", error.message)]


def _decoded(content: bytes | str) -> str:
    """The text of a document, every character of which ends a line for all readers of YAML or for none."""
    if len(content) > MAX_BYTES:
        raise _Refused(1, TOO_LARGE)
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8", "replace")
        raise _Refused(_line_at(before), "not UTF-8 text") from None
    if found := _NOT_ALLOWED.search(text):
        raise _Refused(_line_at(text[: found.start()]), f"the character {shown(found.group())} is not allowed")
    return text


def _line_at(before: str) -> int:
    return len(_LINE_END.findall(before)) + 1


def _composed(text: str, most_values: int) -> yaml.Node | None:
    composer = _Composer(text, most_values)
    try:
        return composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _Refused(*_described(error)) from None
    except (ValueError, OverflowError) as error:  # of int() and chr(), which PyYAML calls unguarded
        number = "the version after %YAML" if "conversion" in str(error) else "the number after \\U"
        line = composer.get_mark().line + 1
        raise _Refused(line, f"not valid YAML: {number} is too large") from None


def _described(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """Line and one-line message of a syntax error."""
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "cannot be read"
    message = f"{error.context}, {problem}" if error.context else problem
    if "'\\t'" in problem:
        message = "a tab where YAML wants spaces"
    return (mark.line + 1 if mark else 1), printable(f"not valid YAML: {message}")
