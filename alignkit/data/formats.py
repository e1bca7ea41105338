"""Finds the format that the rows of a source are in, and reads a row of that format as a prompt and its responses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alignkit.data.context import CONTEXT, read_tools, with_system
from alignkit.data.fields import (
    Fields,
    Message,
    Unusable,
    as_prompt,
    as_reply,
    check_texts,
    is_label,
    read_label,
    read_messages,
    read_text,
)
from alignkit.data.raw import RawRow, columns_of
from alignkit.data.renaming import line_of, line_to_start
from alignkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np

Prompt = str | list[Message]
Response = str | Message

_LIKELY_PROMPTS = ("question", "instruction", "input", "query", "problem", "task", "trajectory", "context", "user")

TURN = "\n\nAssistant:"
OTHER_TURN = "\n\nHuman:"


@dataclass(frozen=True)
class Example:
    """A prompt and its responses: all text, or all messages.

    Attributes:
        row: the row it was read from.
        prompt: text, or messages of which the last is the user's.
        responses: response name -> text, or one message of the assistant.
        label: whether the response is desirable; None in a format without labels.
        columns: data columns that components need.
        token_columns: column suffix -> response name -> [N] float32; not yet compared with the response's tokens.
        tools: JSON schemas for the chat template; None without any, and in plain text.
    """

    row: RawRow
    prompt: Prompt
    responses: Mapping[str, Response]
    label: bool | None = None
    columns: Mapping[str, float] = field(default_factory=dict)
    token_columns: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    tools: list[dict[str, Any]] | None = None

    @property
    def has_earlier_turns(self) -> bool:
        """Whether the assistant speaks in the prompt already; what it says there is read and not trained."""
        if isinstance(self.prompt, str):
            return TURN in self.prompt.removesuffix(TURN)
        return any(message["role"] == "assistant" for message in self.prompt)

    @property
    def prompt_key(self) -> str:
        """Equal for equal prompts."""
        return self.prompt if isinstance(self.prompt, str) else json.dumps(self.prompt, sort_keys=True)


@dataclass(frozen=True)
class Format:
    """One way to write rows.

    Attributes:
        name: in words, for reports and messages.
        kinds: the columns it reads -> text, messages or label; this is how it is recognised.
        read: prompt and responses of a row, given the names of the responses to lay out.
    """

    name: str
    kinds: Mapping[str, str]
    read: Callable[[Fields, Sequence[str]], tuple[Prompt, dict[str, Response]]]

    @property
    def is_chat(self) -> bool:
        """Whether a chat template renders its rows."""
        return "messages" in self.kinds.values()

    @property
    def is_labelled(self) -> bool:
        """Whether a row is one response and its label."""
        return "label" in self.kinds

    def laid_out(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Names of the responses in rows of this format: where a completion is wanted, a pair is two of them."""
        if self.is_labelled or "completion" not in wanted:
            return tuple(wanted)
        return ("chosen", "rejected", *(name for name in wanted if name != "completion"))


def find_format(rows: Sequence[RawRow], responses: Sequence[str], source: str) -> Format:
    """The format of most rows; the others are then bad rows.

    Raises:
        DataError: no row has the columns of any format; lists the columns found and those accepted.
    """
    known = _known(responses)
    votes = Counter(number for row in rows if (number := _recognise(row.fields, known)) is not None)
    if votes:
        return known[votes.most_common(1)[0][0]]
    columns = columns_of(rows)
    # No row is right in any format, but the columns may be there: each row then says what is wrong with its values.
    fitting = [form for form in known if columns.issuperset(form.kinds) or all(row.unread for row in rows)]
    if fitting:
        return max(fitting, key=lambda form: sum(_num_right(row.fields, form) for row in rows))
    accepted = dict.fromkeys(" + ".join(form.kinds) for form in known)
    found = ", ".join(sorted(columns)) or "none"
    start = f"; or name the columns, starting from {line_to_start(_simplest(responses), columns)}" if columns else ""
    labelled = any(_recognise(row.fields, UNPAIRED_FORMATS) is not None for row in rows)
    hint = "; labelled responses are read by trainer 'unpaired'" if labelled else ""
    raise DataError(f"{source}: no known format; columns found: {found}; accepted: {'; '.join(accepted)}{hint}{start}")


def _simplest(responses: Sequence[str]) -> tuple[str, ...]:
    """The columns of the plainest format."""
    if "completion" in responses:
        return ("prompt", "completion", "label")
    return ("prompt", "chosen", "rejected") if "rejected" in responses else ("prompt", "completion")


def read_example(row: RawRow, form: Format, responses: Sequence[str]) -> Example:
    """The row in the format of its source.

    Raises:
        Unusable: it is in another format, or a value is missing or wrong.
    """
    if row.unread:
        raise Unusable(*row.unread)
    known = _known(responses)
    own = _recognise(row.fields, known)
    try:
        prompt, read = form.read(row.fields, form.laid_out(responses))
        label = read_label(row.fields, "label") if form.is_labelled else None
    except Unusable as error:
        # Of another format it is only if that one reads everything that this one found here.
        unread = form.kinds.keys() - known[own].kinds.keys() if own is not None else ()
        if own is not None and known[own] is not form and all(row.fields.get(column) is None for column in unread):
            raise Unusable("mixed formats", f"this row is '{known[own].name}', most are '{form.name}'") from error
        if isinstance(error, _NoPrompt):
            raise Unusable(error.reason, f"{error.detail}; {_whereabouts(row)}") from error
        raise
    tools = None
    if isinstance(prompt, list):
        prompt, tools = with_system(prompt, row.fields), read_tools(row.fields)
    check_texts(prompt, read)
    return Example(row, prompt, read, label, tools=tools)


class _NoPrompt(Unusable):
    """Nothing is wrong with the responses, but what they answer is not where this format has it."""


def _whereabouts(row: RawRow) -> str:
    """Where the prompt may be, for a message."""
    names = [name for name in (*row.fields, *row.others) if name not in COLUMNS]
    likely = [name for name in names if name.lower() in _LIKELY_PROMPTS]
    likely = likely or [name for name in names if isinstance(row.fields.get(name), str)][:3]
    if not likely:
        return "add a 'prompt' column"
    return f"is the prompt in {' or '.join(map(repr, likely))}? then set {line_of({'prompt': likely[0]})}"


def _known(responses: Sequence[str]) -> tuple[Format, ...]:
    known = UNPAIRED_FORMATS + PAIR_FORMATS if "completion" in responses else PAIR_FORMATS
    if "gold" in responses:  # a further response has no place in a format that finds the prompt by itself
        return tuple(form for form in known if "prompt" in form.kinds and form.read is not _whole_dialogues)
    return known + SINGLE_FORMATS if "chosen" in responses and "rejected" not in responses else known


def _recognise(fields: Fields, known: Sequence[Format]) -> int | None:
    """Number of the first format whose columns this row holds, in the right kinds."""
    for number, form in enumerate(known):
        if all(_is_kind(fields.get(column), kind) for column, kind in form.kinds.items()):
            return number
    return None


def _num_right(fields: Fields, form: Format) -> int:
    """How many columns of a format this row holds in the right kinds."""
    return sum(_is_kind(fields.get(column), kind) for column, kind in form.kinds.items())


def _is_kind(value: object, kind: str) -> bool:
    return is_label(value) if kind == "label" else isinstance(value, str if kind == "text" else list)


def num_shared(first: Sequence[object], second: Sequence[object]) -> int:
    """How many items, or characters, two sequences share at their start; by halves, as whole slices compare fast."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


# --- readers, one per format ---


def _texts(column: str | None = None) -> Callable[[Fields, Sequence[str]], tuple[Prompt, dict[str, Response]]]:
    """Prompt and responses as text columns; `column` holds the only response when it is not called `chosen`."""

    def read(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
        return read_text(fields, "prompt"), {name: read_text(fields, column or name) for name in responses}

    return read


def _dialogues(column: str | None = None) -> Callable[[Fields, Sequence[str]], tuple[Prompt, dict[str, Response]]]:
    """The same as message lists."""

    def read(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
        prompt = as_prompt(read_messages(fields, "prompt"), "prompt")
        names = {name: column or name for name in responses}
        return prompt, {name: as_reply(read_messages(fields, source), source) for name, source in names.items()}

    return read


def _whole_dialogues(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
    """Two conversations: what they share before the last message of the shorter one is the prompt."""
    chosen, rejected = read_messages(fields, "chosen"), read_messages(fields, "rejected")
    shared = num_shared(chosen[:-1], rejected[:-1])
    if fields.get("prompt") is not None:  # the same prompt once more, as text
        prompt = read_text(fields, "prompt")
        if not shared and len(chosen) == len(rejected) == 1:
            detail = "'prompt' is text, but chosen and rejected are messages; write all three in one way"
            raise Unusable("mixed kinds", detail)
        if not any(prompt.strip() == message["content"].strip() for message in chosen[:shared]):
            raise Unusable("prompt differs", "'prompt' is not among the messages that chosen and rejected share")
    elif not shared and not any(message["role"] == "user" for message in (*chosen, *rejected)):
        raise _NoPrompt("no common prompt", "chosen and rejected begin with the assistant's turn")
    both = {"chosen": chosen, "rejected": rejected}
    replies = {name: _last_turn(messages[shared:], name) for name, messages in both.items()}
    return as_prompt(chosen[:shared], "chosen"), {name: replies[name] for name in responses}


def _last_turn(messages: Sequence[Message], column: str) -> Message:
    if len(messages) > 1:
        raise Unusable("several turns", f"'{column}' holds more turns after the part that chosen and rejected share")
    return as_reply(messages, column)


def _transcripts(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
    """Two transcripts as in HH-RLHF: the prompt ends with the last assistant turn's start that they share.

    Pairs that part in an earlier turn are bad rows: their responses would hold turns of the human.
    """
    chosen, rejected = read_text(fields, "chosen"), read_text(fields, "rejected")
    turn = chosen[: num_shared(chosen, rejected)].rfind(TURN)
    if turn < 0:
        if isinstance(fields.get("prompt"), list):
            detail = "'prompt' holds messages, but chosen and rejected are text; write all three in one way"
            raise Unusable("mixed kinds", detail)
        raise _NoPrompt("no common prompt", f"chosen and rejected share no {TURN!r} turn")
    start = turn + len(TURN)
    both = {"chosen": chosen[start:], "rejected": rejected[start:]}
    for name, text in both.items():
        if OTHER_TURN in text or TURN in text:
            raise Unusable("several turns", f"'{name}' holds more turns after the part that chosen and rejected share")
    return chosen[:start], {name: both[name] for name in responses}


def _conversation(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
    messages = read_messages(fields, "messages")
    reply = as_reply(messages[-1:], "messages")
    return as_prompt(messages[:-1], "messages"), dict.fromkeys(responses, reply)


def _plain(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
    return "", dict.fromkeys(responses, read_text(fields, "text"))


PAIR_FORMATS: tuple[Format, ...] = (
    Format("text with a prompt column", {"prompt": "text", "chosen": "text", "rejected": "text"}, _texts()),
    Format(
        "messages with a prompt column",
        {"prompt": "messages", "chosen": "messages", "rejected": "messages"},
        _dialogues(),
    ),
    Format(
        "whole conversations, the prompt repeated as text",
        {"prompt": "text", "chosen": "messages", "rejected": "messages"},
        _whole_dialogues,
    ),
    Format("two transcripts", {"chosen": "text", "rejected": "text"}, _transcripts),
    Format("two conversations", {"chosen": "messages", "rejected": "messages"}, _whole_dialogues),
)
UNPAIRED_FORMATS: tuple[Format, ...] = (
    Format("text prompt, completion and label", {"prompt": "text", "completion": "text", "label": "label"}, _texts()),
    Format(
        "messages prompt, completion and label",
        {"prompt": "messages", "completion": "messages", "label": "label"},
        _dialogues(),
    ),
    Format("conversations with a label", {"messages": "messages", "label": "label"}, _conversation),
)
SINGLE_FORMATS: tuple[Format, ...] = (
    Format("text prompt and chosen", {"prompt": "text", "chosen": "text"}, _texts()),
    Format("messages prompt and chosen", {"prompt": "messages", "chosen": "messages"}, _dialogues()),
    Format("text prompt and completion", {"prompt": "text", "completion": "text"}, _texts("completion")),
    Format(
        "messages prompt and completion", {"prompt": "messages", "completion": "messages"}, _dialogues("completion")
    ),
    Format("conversations", {"messages": "messages"}, _conversation),
    Format("text alone", {"text": "text"}, _plain),
)

COLUMNS = frozenset({"gold", *CONTEXT}).union(
    *(form.kinds for form in PAIR_FORMATS + UNPAIRED_FORMATS + SINGLE_FORMATS)
)
"""Every column that some format reads."""
