"""Reads single columns of a row - text, message lists, labels - and says what is wrong with one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from alignkit.data import budget

Message = dict[str, Any]
Fields = Mapping[str, object]

LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
"""How a label may be written, in whatever case: as text in a CSV, as a float where a table had gaps."""

SPEAKERS = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "model", "bot"), "assistant"),
    "system": "system",
    **dict.fromkeys(("observation", "tool"), "tool"),
}
"""Who speaks in messages of ShareGPT -> the role."""


class Unusable(Exception):
    """A row cannot be used: why, in a few words that are counted, and what exactly."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


_COLUMN_FIRST = re.compile(r"'([^']*)'")
_LISTED = "; columns of this row: "


def in_other_words(detail: str, names: Mapping[str, str]) -> str:
    """The detail of an `Unusable` with the names that the data has for its columns: the one it begins with, and those
    that it lists."""
    found = _COLUMN_FIRST.match(detail)
    if found and found[1] in names:
        detail = f"'{names[found[1]]}'{detail[found.end() :]}"
    said, mark, listed = detail.partition(_LISTED)
    return said + mark + ", ".join(names.get(name, name) for name in listed.split(", "))


class LeftOut(Unusable):
    """Nothing is wrong with the row, but it has nothing for this trainer: it is counted, and stops nothing."""


def read_value(fields: Fields, column: str) -> object:
    """Whatever is there, but null."""
    if column not in fields:
        found = ", ".join(fields) or "none"
        raise Unusable("missing field", f"'{column}'{_LISTED}{found}")
    if fields[column] is None:
        raise Unusable("null field", f"'{column}'")
    return fields[column]


def read_text(fields: Fields, column: str) -> str:
    """Text, also empty."""
    value = read_value(fields, column)
    if not isinstance(value, str):
        hint = "; messages stand in lists, those of the prompt too" if is_message(value) else ""
        raise Unusable("wrong type", f"'{column}': expected text, got {shown(value)}{hint}")
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


def read_number(fields: Fields, column: str) -> int:
    """A whole number, as itself, as a float where a table had gaps, or as text in a CSV."""
    value = read_value(fields, column)
    if not is_number(value):
        raise Unusable("wrong type", f"'{column}': expected a whole number, got {shown(value)}")
    return int(float(value))  # type: ignore[arg-type]  # as `is_number` says


def is_number(value: object) -> bool:
    """Whether `read_number` takes it."""
    if isinstance(value, str):
        return re.fullmatch(r"\s*[+-]?\d{1,15}(\.0+)?\s*", value, re.ASCII) is not None
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1 and abs(value) < 1e15


def read_messages(fields: Fields, column: str) -> list[Message]:
    """At least one message, each with a role and text."""
    value = read_value(fields, column)
    if not isinstance(value, list):
        raise Unusable("wrong type", f"'{column}': expected a list of messages, got {shown(value)}")
    if not value:
        raise Unusable("empty conversation", f"'{column}' holds no messages")
    return [_message(message, f"'{column}', message {number}") for number, message in enumerate(value, start=1)]


def _message(value: object, place: str) -> Message:
    if isinstance(value, dict) and isinstance(value.get("from"), str) and isinstance(value.get("value"), str):
        if value["from"] not in SPEAKERS:
            raise Unusable("unknown speaker", f"{place}: {shown(value['from'])}; known: {', '.join(SPEAKERS)}")
        return {"role": SPEAKERS[value["from"]], "content": value["value"]}
    if is_message(value) and (calls := value.get("tool_calls")):
        content = "" if value.get("content") is None else value["content"]
        if isinstance(content, str):
            return {**value, "content": content, "tool_calls": _calls(calls, place)}
    elif is_message(value) and isinstance(value.get("content"), str):
        return value
    raise Unusable("wrong type", f"{place}: expected {{role: text, content: text}}, got {shown(value)}")


def _calls(value: object, place: str) -> list[dict[str, Any]]:
    """Calls of tools, each with the name of a function; of a table's keys those with a value."""
    calls = without_null(value)
    for number, call in enumerate(calls if isinstance(calls, list) else [calls], start=1):
        function = call.get("function", call) if isinstance(call, dict) and isinstance(calls, list) else None
        if not (isinstance(function, dict) and isinstance(function.get("name"), str)):
            detail = f"{place}, tool call {number}: expected {{function: {{name: text, arguments: ...}}}}"
            raise Unusable("wrong type", f"{detail}, got {shown(call)}")
    return calls  # type: ignore[return-value]  # checked above


def without_null(value: object) -> object:
    """The value without keys that have none: a table gives each object all keys that any has."""
    if isinstance(value, dict):
        return {key: without_null(part) for key, part in value.items() if part is not None}
    return [without_null(part) for part in value] if isinstance(value, list) else value


def read_replies(fields: Fields, column: str) -> list[Message]:
    """The messages of a response, of which one may stand in no list, or be its text alone."""
    value = read_value(fields, column)
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    return read_messages({column: [value]} if isinstance(value, dict) else fields, column)


def is_reply(value: object) -> bool:
    """Whether it is one message of the assistant, in a list or not."""
    message = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(message, dict):
        return False
    speaker = message.get("role", message.get("from"))
    return isinstance(speaker, str) and SPEAKERS.get(speaker) == "assistant"


def is_message(value: object) -> TypeGuard[Message]:
    """Whether it says who speaks."""
    return isinstance(value, dict) and isinstance(value.get("role"), str)


def shown(value: object) -> str:
    """Type and value for a message, a long one cut."""
    return f"{type(value).__name__} {cut(json.dumps(value, default=str))}"


def cut(text: str) -> str:
    """Text for a message, a long one without its end."""
    return text if len(text) <= 60 else text[:57] + "..."


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


def check_texts(prompt: str | list[Message], responses: Mapping[str, str | Message]) -> None:
    """Responses hold text, a pair two of them, a prompt alone too, and nothing is larger than a tokenizer can take.

    Raises:
        Unusable: not so.
    """
    asked = [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]
    _refuse_large("prompt", asked)
    if not responses and not any(text.strip() for text in asked):
        raise Unusable("empty prompt", "the prompt holds no text")
    for name, response in responses.items():
        text = response if isinstance(response, str) else response["content"]
        _refuse_large(name, [text])
        if not text.strip():
            if isinstance(response, dict) and response.get("tool_calls"):
                raise Unusable("tool calls without text", f"'{name}': a response of tool calls alone is not trained on")
            raise Unusable("empty response", f"'{name}' holds no text")
    if "rejected" in responses and responses["chosen"] == responses["rejected"]:
        raise Unusable("chosen equals rejected", "a pair needs two different responses")


def _refuse_large(name: str, texts: Sequence[str]) -> None:
    size = sum(map(len, texts))
    if size > budget.MOST_CHARACTERS:
        raise Unusable("too large", f"'{name}' has {size:,} characters; at most {budget.MOST_CHARACTERS:,} are read")
