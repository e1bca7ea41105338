"""Plain text as turns of a conversation, where the model speaks in turns: `data.chat`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from alignkit.data.chat import question_marks
from alignkit.data.config import ChatUse
from alignkit.data.context import read_tools, with_system
from alignkit.data.fields import Message, Unusable, check_texts
from alignkit.data.formats import Example
from alignkit.data.layouts import Format
from alignkit.data.readers import OTHER_TURN, TURN, user
from alignkit.data.sources.base import Source
from alignkit.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPEAKERS = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class Turns:
    """Whether plain text is read as turns.

    Attributes:
        use: what `data.chat` says.
        tokenizer: its chat template is what renders turns; None where there is no tokenizer yet.
        separator: what `data.separator` says; who gives one has text in mind.
    """

    use: ChatUse
    tokenizer: PreTrainedTokenizerBase | None
    separator: str

    def fit(self, examples: Sequence[Example], form: Format, source: Source) -> bool:
        """Whether these examples of plain text become turns.

        Raises:
            DataError: they shall and cannot, or some look like rendered conversations and others do not.
        """
        if self.use == "never" or self.tokenizer is None:
            return False
        if self.use == "always":
            self._require_turns(form, source)
            return True
        if not self.tokenizer.chat_template or self.separator or form.finds_prompt or source.plants:
            return False
        is_rendered = _rendered(self.tokenizer)
        rendered = [example for example in examples if is_rendered(str(example.prompt))]
        if rendered and len(rendered) < len(examples):
            raise DataError(
                f"{source.label}: {len(rendered):,} of {len(examples):,} prompts look like conversations that were "
                f"rendered before, the first at {rendered[0].row.where}, and the others like plain text; say "
                "data.chat: always to make each prompt a user's turn, or never to take all as they are"
            )
        return not rendered

    def _require_turns(self, form: Format, source: Source) -> None:
        assert self.tokenizer is not None, "asked with a tokenizer only"
        problem = None
        if not self.tokenizer.chat_template:
            problem = (
                f"tokenizer '{self.tokenizer.name_or_path}' has no chat template; take an instruct model's, or never"
            )
        elif source.plants:
            problem = f"{source.label} knows characters of its text, which turns would move; take never"
        elif form.words == "text alone":
            problem = f"{source.label} has text without a prompt ({form.name}); take never, or give a prompt"
        if problem:
            raise DataError(f"data.chat: always makes each prompt a user's turn, but {problem}")


def _rendered(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], bool]:
    """Says of a prompt whether it looks like a conversation up to where the assistant is to speak.

    Raises:
        DataError: the chat template cannot be used.
    """
    try:
        first, last = question_marks(tokenizer)
    except DataError as error:
        raise DataError(f"{error}; data.chat: never leaves plain text as it is") from error
    bos = tokenizer.bos_token or ""

    def is_rendered(prompt: str) -> bool:
        bare = prompt.strip().removeprefix(bos).lstrip()
        is_of_template = bool(first and bare.startswith(first)) or bool(last and bare.endswith(last))
        return is_of_template or prompt.rstrip().endswith(TURN)

    return is_rendered


def as_turns(example: Example) -> Example:
    """The example with its prompt as the user's turn, or the turns of its transcript, and responses of the assistant.

    White space around them goes, as between turns it is the template's.

    Raises:
        Unusable: it has no turns.
    """
    prompt = with_system(turns_of(str(example.prompt)), example.row.fields)
    responses: dict[str, str | Message] = {
        name: {"role": "assistant", "content": str(text).strip()} for name, text in example.responses.items()
    }
    check_texts(prompt, responses)
    return replace(example, prompt=prompt, responses=responses, tools=read_tools(example.row.fields))


def each_turn(example: Example) -> list[Example]:
    """An example per turn of the assistant that follows one of the user or a tool, all before it as the prompt.

    Their rows bear the turn in their place. Turns without text, such as calls of tools, are in prompts only.
    """
    assert isinstance(example.prompt, list), "plain text has no turns"
    (name, last), *_ = example.responses.items()
    assert isinstance(last, dict), "a conversation's response is a message"
    messages = [*example.prompt, last]
    ends = [
        number
        for number, message in enumerate(messages)
        if message["role"] == "assistant"
        and message["content"].strip()
        and number
        and messages[number - 1]["role"] in ("user", "tool")
    ]
    opening = replace(example, prompt=messages[: ends[0]]).prompt_key
    return [
        replace(
            example,
            row=replace(example.row, where=f"{example.row.where} turn {turn}"),
            prompt=messages[:end],
            responses={name: messages[end]},
            opening=opening,
        )
        for turn, end in enumerate(ends, start=1)
    ]


def turns_of(prompt: str) -> list[Message]:
    """The prompt as the user's turn, without white space around it; of a transcript its turns.

    Raises:
        Unusable: it holds no text.
    """
    bare = prompt.strip()
    if not bare:
        raise Unusable("empty prompt", "'prompt' holds no text that a user could say")
    script = f"\n\n{bare}"  # the first turn of a transcript may have lost its line ends
    if not (script.startswith(OTHER_TURN) and script.endswith(TURN)):
        return [user(bare)]
    _, *parts = re.split(r"\n\n(Human|Assistant):", script)
    said = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": _SPEAKERS[speaker], "content": text.strip()} for speaker, text in said][:-1]
