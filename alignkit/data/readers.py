"""Reads a row as a prompt and its responses: one function per way to write rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from alignkit.data.fields import (
    Fields,
    LeftOut,
    Message,
    Unusable,
    as_prompt,
    as_reply,
    in_other_words,
    read_messages,
    read_number,
    read_replies,
    read_text,
)

Prompt = str | list[Message]
Response = str | Message
Read = Callable[[Fields, Sequence[str]], tuple[Prompt, dict[str, Response]]]
"""Prompt and responses of a row, given the names of the responses to lay out."""

TURN = "\n\nAssistant:"
OTHER_TURN = "\n\nHuman:"


class NoPrompt(Unusable):
    """Nothing is wrong with the responses, but what they answer is not where this format has it."""


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


# --- general ---


def texts(completion: str | None = None) -> Read:
    """Prompt and responses as text columns; `completion` holds the only response when it is not called `chosen`."""

    def read(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
        return read_text(fields, "prompt"), {name: read_text(fields, completion or name) for name in responses}

    return read


def dialogues(completion: str | None = None) -> Read:
    """The prompt as messages, each response as one message or as its text."""

    def read(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
        prompt = as_prompt(read_messages(fields, "prompt"), "prompt")
        return prompt, _replies(fields, responses, completion)

    return read


def questions(completion: str | None = None) -> Read:
    """The prompt as text, which the user says, and each response as one message."""

    def read(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
        return [user(read_text(fields, "prompt"))], _replies(fields, responses, completion)

    return read


def _replies(fields: Fields, responses: Sequence[str], completion: str | None) -> dict[str, Response]:
    columns = {name: completion or name for name in responses}
    return {name: as_reply(read_replies(fields, column), column) for name, column in columns.items()}


def user(text: str) -> Message:
    """What the user says."""
    return {"role": "user", "content": text}


def whole_dialogues(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
    """Two conversations: what they share before the last message of the shorter one is the prompt."""
    chosen, rejected = read_messages(fields, "chosen"), read_messages(fields, "rejected")
    shared = num_shared(chosen[:-1], rejected[:-1])
    if fields.get("prompt") is not None:  # the same prompt once more, as text
        prompt = read_text(fields, "prompt")
        if not any(prompt.strip() == message["content"].strip() for message in chosen[:shared]):
            raise Unusable("prompt differs", "'prompt' is not among the messages that chosen and rejected share")
    elif not shared and not any(message["role"] == "user" for message in (*chosen, *rejected)):
        raise NoPrompt("no common prompt", "chosen and rejected begin with the assistant's turn")
    both = {"chosen": chosen, "rejected": rejected}
    replies = {name: _last_turn(messages[shared:], name) for name, messages in both.items()}
    return as_prompt(chosen[:shared], "chosen"), {name: replies[name] for name in responses}


def _last_turn(messages: Sequence[Message], column: str) -> Message:
    if len(messages) > 1:
        raise Unusable("several turns", f"'{column}' holds more turns after the part that chosen and rejected share")
    return as_reply(messages, column)


def transcripts(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
    """Two transcripts as in HH-RLHF: the prompt ends with the last assistant turn's start that they share.

    Pairs that part in an earlier turn are bad rows: their responses would hold turns of the human.
    """
    chosen, rejected = read_text(fields, "chosen"), read_text(fields, "rejected")
    turn = chosen[: num_shared(chosen, rejected)].rfind(TURN)
    if turn < 0:
        raise NoPrompt("no common prompt", f"chosen and rejected share no {TURN!r} turn")
    start = turn + len(TURN)
    both = {"chosen": chosen[start:], "rejected": rejected[start:]}
    for name, text in both.items():
        if OTHER_TURN in text or TURN in text:
            raise Unusable("several turns", f"'{name}' holds more turns after the part that chosen and rejected share")
    return chosen[:start], {name: both[name] for name in responses}


def conversation(column: str) -> Read:
    """One conversation, whose last message is the response; where none is wanted it may end before it."""

    def read(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
        messages = read_messages(fields, column)
        if not responses and messages[-1]["role"] != "assistant":
            return as_prompt(messages, column), {}
        reply = as_reply(messages[-1:], column)
        return as_prompt(messages[:-1], column), dict.fromkeys(responses, reply)

    return read


def plain(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
    """Text without a prompt."""
    return "", dict.fromkeys(responses, read_text(fields, "text"))


# --- of common data sets: their columns as those of a general format ---


def renaming(read: Read, **names: str) -> Read:
    """As `read`, with columns of other names."""

    def read_renamed(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
        try:
            return read({**fields, **{ours: fields.get(other) for ours, other in names.items()}}, responses)
        except Unusable as error:
            error.detail = in_other_words(error.detail, names)
            raise

    return read_renamed


def ranked(read: Read, first: str, second: str, by: str, signs: Mapping[int, bool | None]) -> Read:
    """Two responses and a number that says which is better.

    Args:
        read: of a general format with columns `chosen` and `rejected`.
        first: the column of the one.
        second: the column of the other.
        by: the column of the number.
        signs: what each number that there is says: whether the first is better; None for neither.
    """

    def read_ranked(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
        if not responses:
            return read(fields, responses)
        number = read_number(fields, by)
        if number not in signs:
            raise Unusable("wrong type", f"'{by}': expected one of {', '.join(map(str, signs))}, got {number}")
        if signs[number] is None:
            raise LeftOut("tie", f"'{by}' is {number}: no response is better")
        chosen, rejected = (first, second) if signs[number] else (second, first)
        return renaming(read, chosen=chosen, rejected=rejected)(fields, responses)

    return read_ranked


def instructions(completion: str | None = None) -> Read:
    """Rows of Alpaca: the instruction, then what it is about, where there is an input, are the prompt."""

    def read(fields: Fields, responses: Sequence[str]) -> tuple[Prompt, dict[str, Response]]:
        if fields.get("history") not in (None, "", []):
            raise Unusable("earlier turns", "'history' has no place in this format; write the row as messages")
        parts = [read_text(fields, "instruction")]
        if fields.get("input") is not None:
            parts.append(read_text(fields, "input"))
        prompt = "\n".join(part for part in parts if part.strip())
        return texts(completion)({**fields, "prompt": prompt}, responses)

    return read
