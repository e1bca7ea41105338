"""The ways to write rows that are known: general ones, and those of common data sets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from alignkit.data.context import CONTEXT
from alignkit.data.readers import (
    Read,
    conversation,
    dialogues,
    instructions,
    plain,
    questions,
    ranked,
    renaming,
    texts,
    transcripts,
    whole_dialogues,
)


@dataclass(frozen=True)
class Format:
    """One way to write rows.

    Attributes:
        words: in words, for reports and messages.
        kinds: the columns it reads -> text, messages, message, reply, number or label; this is how it is recognised.
        read: prompt and responses of a row, given the names of the responses to lay out.
        maker: the data set or project that it is of; empty for a general one.
        optional: columns that it reads where they are.
        finds_prompt: the prompt is what the responses share or follow, and has no column; so a third response has none.
    """

    words: str
    kinds: Mapping[str, str]
    read: Read
    maker: str = ""
    optional: tuple[str, ...] = ()
    finds_prompt: bool = False

    @property
    def name(self) -> str:
        """What reports and messages call it."""
        return f"{self.maker}: {self.words}" if self.maker else self.words

    @property
    def is_chat(self) -> bool:
        """Whether a chat template renders its rows."""
        return bool({"messages", "message"}.intersection(self.kinds.values()))

    @property
    def is_labelled(self) -> bool:
        """Whether a row is one response and its label."""
        return "label" in self.kinds

    @property
    def is_paired(self) -> bool:
        """Whether a row has two responses, one better than the other."""
        return self in PAIR_FORMATS

    def laid_out(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Names of the responses in rows of this format: where a completion is wanted, a pair is two of them."""
        if self.is_labelled or "completion" not in wanted:
            return tuple(wanted)
        return ("chosen", "rejected", *(name for name in wanted if name != "completion"))

    def name_in(self, columns: Collection[str]) -> str:
        """Its name, with the data set that rows of these columns are most likely of."""
        for maker, words, own in _MADE_BY:
            if words == self.words and own.issubset(columns):
                return f"{maker}: {words}"
        return self.name


_WHOLE = "whole conversations, the prompt repeated as text"
_TRANSCRIPTS = "two transcripts"
_CONVERSATIONS = "two conversations"

_MADE_BY: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("UltraFeedback-binarized", _WHOLE, frozenset({"score_chosen", "score_rejected"})),
    ("dpo-mix-7k", _CONVERSATIONS, frozenset({"dataset", "chosen_rating", "rejected_rating"})),
    ("Skywork-Reward", _CONVERSATIONS, frozenset({"source"})),
    ("HH-RLHF", _TRANSCRIPTS, frozenset()),
)
"""Data sets in a general format, by the columns that they have besides."""

_PREFERENCES = {-3: True, -2: True, -1: True, 0: None, 1: False, 2: False, 3: False}

PAIR_FORMATS: tuple[Format, ...] = (
    Format("text with a prompt column", {"prompt": "text", "chosen": "text", "rejected": "text"}, texts()),
    Format(
        "messages with a prompt column", {"prompt": "messages", "chosen": "reply", "rejected": "reply"}, dialogues()
    ),
    Format(
        "text prompt, messages as responses",
        {"prompt": "text", "chosen": "message", "rejected": "message"},
        questions(),
    ),
    Format(
        _WHOLE,
        {"prompt": "text", "chosen": "messages", "rejected": "messages"},
        whole_dialogues,
        finds_prompt=True,
    ),
    Format(
        "two responses and a preference",
        {"context": "messages", "response1": "text", "response2": "text", "overall_preference": "number"},
        ranked(renaming(dialogues(), prompt="context"), "response1", "response2", "overall_preference", _PREFERENCES),
        "HelpSteer3",
    ),
    Format(
        "two responses and the better one's number",
        {"prompt": "text", "response_0": "text", "response_1": "text", "better_response_id": "number"},
        ranked(texts(), "response_0", "response_1", "better_response_id", {0: True, 1: False}),
        "PKU-SafeRLHF",
    ),
    Format(
        "a post, two answers and the better one's label",
        {"history": "text", "human_ref_A": "text", "human_ref_B": "text", "labels": "number"},
        ranked(renaming(texts(), prompt="history"), "human_ref_A", "human_ref_B", "labels", {1: True, 0: False}),
        "SHP",
    ),
    Format(
        "conversations, two responses",
        {"conversations": "messages", "chosen": "reply", "rejected": "reply"},
        renaming(dialogues(), prompt="conversations"),
        "ShareGPT",
    ),
    Format(
        "system, question and two responses",
        {"system": "text", "question": "text", "chosen": "text", "rejected": "text"},
        renaming(texts(), prompt="question"),
        "Orca pairs",
    ),
    Format(
        "system, input and two responses",
        {"system": "text", "input": "text", "chosen": "text", "rejected": "text"},
        renaming(texts(), prompt="input"),
        "Orca pairs",
    ),
    Format(
        "instruction, input and two responses",
        {"instruction": "text", "chosen": "text", "rejected": "text"},
        instructions(),
        "Alpaca",
        optional=("input", "history"),
    ),
    Format(_TRANSCRIPTS, {"chosen": "text", "rejected": "text"}, transcripts, finds_prompt=True),
    Format(_CONVERSATIONS, {"chosen": "messages", "rejected": "messages"}, whole_dialogues, finds_prompt=True),
)
UNPAIRED_FORMATS: tuple[Format, ...] = (
    Format("text prompt, completion and label", {"prompt": "text", "completion": "text", "label": "label"}, texts()),
    Format(
        "messages prompt, completion and label",
        {"prompt": "messages", "completion": "reply", "label": "label"},
        dialogues(),
    ),
    Format(
        "text prompt, message as completion, and label",
        {"prompt": "text", "completion": "message", "label": "label"},
        questions(),
    ),
    Format(
        "conversations with a label",
        {"messages": "messages", "label": "label"},
        conversation("messages"),
        finds_prompt=True,
    ),
    Format(
        "conversations with a label",
        {"conversations": "messages", "label": "label"},
        conversation("conversations"),
        "ShareGPT",
        finds_prompt=True,
    ),
    Format(
        "instruction, input, output and label",
        {"instruction": "text", "output": "text", "label": "label"},
        instructions("output"),
        "Alpaca",
        optional=("input", "history"),
    ),
)
SINGLE_FORMATS: tuple[Format, ...] = (
    Format("text prompt and chosen", {"prompt": "text", "chosen": "text"}, texts()),
    Format("messages prompt and chosen", {"prompt": "messages", "chosen": "reply"}, dialogues()),
    Format("text prompt and completion", {"prompt": "text", "completion": "text"}, texts("completion")),
    Format("messages prompt and completion", {"prompt": "messages", "completion": "reply"}, dialogues("completion")),
    Format("text prompt, message as completion", {"prompt": "text", "completion": "message"}, questions("completion")),
    Format("conversations", {"messages": "messages"}, conversation("messages"), finds_prompt=True),
    Format("conversations", {"conversations": "messages"}, conversation("conversations"), "ShareGPT", (), True),
    Format(
        "instruction, input and output",
        {"instruction": "text", "output": "text"},
        instructions("output"),
        "Alpaca",
        optional=("input", "history"),
    ),
    Format("text alone", {"text": "text"}, plain, finds_prompt=True),
)
PROMPT_FORMATS: tuple[Format, ...] = (
    Format("prompts as text", {"prompt": "text"}, texts()),
    Format("prompts as messages", {"prompt": "messages"}, dialogues()),
    Format("instructions", {"instruction": "text"}, instructions(), optional=("input", "history")),
    Format("questions", {"question": "text"}, renaming(texts(), prompt="question")),
    Format("problems", {"problem": "text"}, renaming(texts(), prompt="problem")),
)
"""Where responses are sampled: what has no responses, or none that any other format reads."""

PROMPT_COLUMNS = frozenset[str]().union(*(form.kinds for form in PROMPT_FORMATS))
_ALL = PAIR_FORMATS + UNPAIRED_FORMATS + SINGLE_FORMATS

GENERAL_COLUMNS = frozenset({"gold", *CONTEXT}).union(*(form.kinds for form in _ALL if not form.maker))
"""Every column that some general format reads."""

COLUMNS = GENERAL_COLUMNS.union(*(form.kinds for form in _ALL), *(form.optional for form in _ALL))
"""Every column that some format reads."""
