"""Reads single columns of a row - text, message lists, labels - and says what is wrong with one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, Any]
Fields = Mapping[str, object]

LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
"""How a label may be written, in whatever case: as text in a CSV, as a float where a table had gaps."""


class Unusable(Exception):
    """A row cannot be used: why, in a few words that are counted, and what exactly."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


def read_value(fields: Fields, column: str) -> object:
    """Whatever is there, but null."""
    if column not in fields:
        found = ", ".join(fields) or "none"
        raise Unusable("missing field", f"'{column}'; columns of this row: {found}")
    if fields[column] is None:
        raise Unusable("null field", f"'{column}'")
    return fields[column]


def read_text(fields: Fields, column: str) -> str:
    """Text, also empty."""
    value = read_value(fields, column)
    if not isinstance(value, str):
        raise Unusable("wrong type", f"'{column}': expected text, got {shown(value)}")
    return value


def read_label(fields: Fields, column: str) -> bool:
    """True or false, as itself, as 0 or 1, or as text of either."""
    value = read_value(fields, column)
    if not is_label(value):
        raise Unusable("wrong type", f"'{column}': expected true or false, got {shown(value)}")
    return LABELS[str(value).lower()]


def is_label(value: object) -> bool:
    """Whether `read_label` takes it."""
    return isinstance(value, bool | int | float | str) and str(value).lower() in LABELS


def read_messages(fields: Fields, column: str) -> list[Message]:
    """At least one message, each with a role and text."""
    value = read_value(fields, column)
    if not isinstance(value, list):
        raise Unusable("wrong type", f"'{column}': expected a list of messages, got {shown(value)}")
    if not value:
        raise Unusable("empty conversation", f"'{column}' holds no messages")
    for number, message in enumerate(value, start=1):
        is_message = isinstance(message, dict) and isinstance(message.get("role"), str)
        if not is_message or not isinstance(message.get("content"), str):
            expected = "expected {role: text, content: text}"
            raise Unusable("wrong type", f"'{column}', message {number}: {expected}, got {shown(message)}")
    return value


def shown(value: object) -> str:
    """Type and value for a message, a long one cut."""
    text = json.dumps(value, default=str)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def as_reply(messages: Sequence[Message], column: str) -> Message:
    """The one assistant message that a response must be."""
    if not messages or messages[-1]["role"] != "assistant":
        last = messages[-1]["role"] if messages else "missing"
        raise Unusable("no final assistant turn", f"'{column}': its last message must be the assistant's, is {last}")
    if len(messages) > 1:
        raise Unusable("several turns", f"'{column}': the response must be one message, is {len(messages)}")
    return messages[0]


def as_prompt(messages: list[Message], column: str) -> list[Message]:
    """The prompt, if it ends where the assistant is to speak."""
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        last = f"{messages[-1]['role']}'s" if messages else "missing"
        raise Unusable("prompt without user turn", f"'{column}': the prompt's last message must be user's, is {last}")
    return messages
