"""What a row gives a conversation in columns of their own: a system message, and the tools that may be called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alignkit.data.fields import Fields, Message, Unusable, read_text, shown, without_null
from alignkit.data.json_rows import parse_json
from alignkit.data.raw import RawRow
from alignkit.errors import DataError

CONTEXT = ("system", "tools")
"""Names of the columns."""


def with_system(prompt: list[Message], fields: Fields) -> list[Message]:
    """The prompt with the system column as its first message; as it is when it says the same already.

    Raises:
        Unusable: the column is no text, or the conversation has another system message.
    """
    if not _is_given(fields, "system"):
        return prompt
    text = read_text(fields, "system")
    own = [message["content"] for message in prompt if message["role"] == "system"]
    if own == [text]:
        return prompt
    if own:
        raise Unusable("two system messages", "the one in 'system' is not that of the conversation")
    return [{"role": "system", "content": text}, *prompt]


def read_tools(fields: Fields) -> list[dict[str, Any]] | None:
    """The tools of the row, as chat templates take them: JSON schemas in a list or as JSON text; None without any.

    Raises:
        Unusable: they are something else.
    """
    if not _is_given(fields, "tools"):
        return None
    value = fields["tools"]
    tools = parse_json(value, "tools") if isinstance(value, str) else without_null(value)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) and tool for tool in tools):
        raise Unusable("wrong type", f"'tools': expected a list of objects, or its JSON text, got {shown(value)}")
    return tools or None


def refuse_context(rows: Sequence[RawRow], format_name: str, name: str) -> None:
    """Stops when rows of plain text come with a system message or tools: only a chat template has a place for them.

    Raises:
        DataError: names the column, how many rows have it, and what to do.
    """
    for column in CONTEXT:
        number = sum(_is_given(row.fields, column) for row in rows)
        if number:
            raise DataError(
                f"{name}: column '{column}', given in {number:,} of {len(rows):,} rows, has no place in plain text "
                f"(format found: {format_name}); write prompt and responses as messages, or rename the column to leave "
                "it out"
            )


def _is_given(fields: Fields, column: str) -> bool:
    value = fields.get(column)
    return value is not None and value != [] and not (isinstance(value, str) and not value.strip())
