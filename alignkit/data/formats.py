"""Finds the format that the rows of a source are in, and reads a row of that format as a prompt and its responses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from alignkit.data.context import read_tools, with_system
from alignkit.data.fields import Fields, Unusable, check_texts, is_label, is_number, is_reply, read_label, shown
from alignkit.data.layouts import (
    GENERAL_COLUMNS,
    PAIR_FORMATS,
    PROMPT_FORMATS,
    SINGLE_FORMATS,
    UNPAIRED_FORMATS,
    Format,
)
from alignkit.data.raw import RawRow, columns_of
from alignkit.data.readers import TURN, NoPrompt, Prompt, Response
from alignkit.data.renaming import Names, line_of, line_to_start
from alignkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np

_LIKELY_PROMPTS = ("question", "instruction", "input", "query", "problem", "task", "trajectory", "context", "user")


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
        fields: data columns as they are, those that rewards read.
        opening: of a turn of a conversation, the key of the first prompt in it; None of a whole row.
    """

    row: RawRow
    prompt: Prompt
    responses: Mapping[str, Response]
    label: bool | None = None
    columns: Mapping[str, float] = field(default_factory=dict)
    token_columns: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    tools: list[dict[str, Any]] | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    opening: str | None = None

    @property
    def has_earlier_turns(self) -> bool:
        """Whether the assistant speaks in the prompt already; what it says there is read and not trained."""
        if isinstance(self.prompt, str):
            return TURN in self.prompt.removesuffix(TURN)
        return any(message["role"] == "assistant" for message in self.prompt)

    @property
    def prompt_key(self) -> str:
        """Equal for equal prompts, and for all turns of a conversation."""
        if self.opening is not None:
            return self.opening
        return self.prompt if isinstance(self.prompt, str) else json.dumps(self.prompt, sort_keys=True)


def find_format(
    rows: Sequence[RawRow], responses: tuple[str, ...], source: str, names: Names = MappingProxyType({})
) -> Format:
    """The format of most rows; the others are then bad rows.

    Args:
        rows: those of one source.
        responses: names of the responses to lay out; none where prompts alone are read.
        source: what it is called.
        names: what the data calls columns that have another name here, for messages.

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
    accepted = dict.fromkeys(" + ".join(form.kinds) for form in _plainest(known, responses) if not form.maker)
    found = ", ".join(sorted(names.get(column, column) for column in columns)) or "none"
    line = line_to_start(_simplest(responses), columns, names)
    start = f"; or name the columns, starting from {line}" if columns else ""
    labelled = any(_recognise(row.fields, UNPAIRED_FORMATS) is not None for row in rows)
    hint = "; labelled responses are read by trainer 'unpaired'" if labelled else ""
    raise DataError(f"{source}: no known format; columns found: {found}; accepted: {'; '.join(accepted)}{hint}{start}")


def _plainest(known: Sequence[Format], responses: Sequence[str]) -> Sequence[Format]:
    """The formats to name in a message; of those with a prompt that is there without the rest, the prompt alone."""
    if responses:
        return known
    return [form for form in known if not any(other.kinds.keys() < form.kinds.keys() for other in known)]


def _simplest(responses: Sequence[str]) -> tuple[str, ...]:
    """The columns of the plainest format."""
    if not responses:
        return ("prompt",)
    if "completion" in responses:
        return ("prompt", "completion", "label")
    return ("prompt", "chosen", "rejected") if "rejected" in responses else ("prompt", "completion")


def read_example(row: RawRow, form: Format, responses: tuple[str, ...]) -> Example:
    """The row in the format of its source.

    Raises:
        Unusable: it is in another format, or a value is missing or wrong.
    """
    if row.unread:
        raise Unusable(*row.unread)
    try:
        prompt, read = form.read(row.fields, form.laid_out(responses))
        label = read_label(row.fields, "label") if form.is_labelled and responses else None
    except Unusable as error:
        known = _known(responses)
        own = _recognise(row.fields, known)
        # Of another format it is only if that one reads everything that this one found here.
        unread = form.kinds.keys() - known[own].kinds.keys() if own is not None else ()
        if own is not None and known[own] is not form and all(row.fields.get(column) is None for column in unread):
            raise Unusable("mixed formats", f"this row is '{known[own].name}', most are '{form.name}'") from error
        if isinstance(error, NoPrompt):
            raise Unusable(error.reason, f"{error.detail}; {_whereabouts(row)}") from error
        raise
    tools = None
    if isinstance(prompt, list):
        prompt, tools = with_system(prompt, row.fields), read_tools(row.fields)
    check_texts(prompt, read)
    return Example(row, prompt, read, label, tools=tools)


def _whereabouts(row: RawRow) -> str:
    """Where the prompt may be, for a message."""
    if row.fields.get("prompt") is not None:
        return f"'prompt' is neither text nor messages, but {shown(row.fields['prompt'])}"
    names = [name for name in (*row.fields, *row.others) if name not in GENERAL_COLUMNS]
    likely = [name for name in names if name.lower() in _LIKELY_PROMPTS]
    likely = likely or [name for name in names if isinstance(row.fields.get(name), str)][:3]
    if not likely:
        return "add a 'prompt' column"
    return f"is the prompt in {' or '.join(map(repr, likely))}? then set {line_of({'prompt': likely[0]})}"


@lru_cache
def _known(responses: tuple[str, ...]) -> tuple[Format, ...]:
    if not responses:
        with_prompt = tuple(form for form in SINGLE_FORMATS if form.words != "text alone")
        return PAIR_FORMATS + UNPAIRED_FORMATS + with_prompt + PROMPT_FORMATS
    known = UNPAIRED_FORMATS + PAIR_FORMATS if "completion" in responses else PAIR_FORMATS
    if "gold" in responses:  # a further response has no place in a format that finds the prompt by itself
        return tuple(form for form in known if not form.finds_prompt)
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


_KINDS: Mapping[str, Callable[[object], bool]] = {
    "text": lambda value: isinstance(value, str),
    "messages": lambda value: isinstance(value, list),
    "message": is_reply,
    "reply": lambda value: isinstance(value, str | list | dict),
    "number": is_number,
    "label": is_label,
}


def _is_kind(value: object, kind: str) -> bool:
    return _KINDS[kind](value)


def has_pairs(rows: Sequence[RawRow]) -> bool:
    """Whether any row is a pair."""
    return any(_recognise(row.fields, PAIR_FORMATS) is not None for row in rows)


def has_prompts_alone(rows: Sequence[RawRow]) -> bool:
    """Whether there are prompts, and no row has a response."""
    complete = PAIR_FORMATS + UNPAIRED_FORMATS + SINGLE_FORMATS
    found = (_recognise(row.fields, complete + PROMPT_FORMATS) for row in rows)
    return min((number for number in found if number is not None), default=0) >= len(complete)
