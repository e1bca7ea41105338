"""Renders conversations with the tokenizer's chat template, and finds what the template ends a response with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit.data.fields import Message, Unusable
from alignkit.data.formats import Example
from alignkit.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE = "zebra"
_DATE = "26 Jul 2024"
"""Llama 3.1's template writes today's date unless told one, and rows would differ from day to day; its own default."""


@dataclass(frozen=True)
class Rendered:
    """One example as text for the tokenizer.

    Attributes:
        prompt: what the model is given at generation.
        full: response name -> prompt and response, up to the end token if the text holds one.
        start: characters before the response; `prompt` may be cut there.
    """

    prompt: str
    full: dict[str, str]
    start: int


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer's chat template and its end of turn, found by rendering a probe.

    Attributes:
        tokenizer: owner of the template.
        tail: text that the template puts after the content of the last assistant message.
        kept: how much of it belongs to the response: everything up to the end-of-turn token, 0 when it has none.
        end: id of the end-of-turn token; None when the template has none and EOS has to be appended.
    """

    tokenizer: PreTrainedTokenizerBase
    tail: str
    kept: int
    end: int | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
        """The template of `tokenizer`.

        Raises:
            DataError: it has none, or its template does not show the assistant's content.
        """
        if not tokenizer.chat_template:
            raise DataError(
                f"the data is conversations, but tokenizer '{_name(tokenizer)}' has no chat template; "
                "take an instruct model's tokenizer or give prompt, chosen and rejected as text"
            )
        probe = _render(tokenizer, [{"role": "user", "content": "horse"}, {"role": "assistant", "content": _PROBE}])
        _, found, tail = probe.rpartition(_PROBE)
        if not found:
            raise DataError(
                f"the chat template of tokenizer '{_name(tokenizer)}' does not show what the assistant says"
            )
        ends = [(tail.find(text), text) for text in _special_texts(tokenizer) if text in tail]
        if not ends:
            return cls(tokenizer, tail, 0, None)
        place, text = min(ends)
        end = tokenizer.convert_tokens_to_ids(text)
        assert isinstance(end, int)
        return cls(tokenizer, tail, place + len(text), end)

    def render(self, example: Example) -> Rendered:
        """The example's texts.

        Raises:
            Unusable: the template refuses the conversation, or renders the prompt differently once a response follows.
        """
        assert isinstance(example.prompt, list)
        prompt = _render_row(self.tokenizer, example.prompt, is_open=True)
        full = {}
        for name, message in example.responses.items():
            assert isinstance(message, dict)
            full[name] = self._cut(_render_row(self.tokenizer, [*example.prompt, message]), name)
        start = len(prompt)
        if not all(text.startswith(prompt) for text in full.values()):
            # The header that opens a turn may differ (a thinking block, say), the conversation before it may not.
            closed = _render_row(self.tokenizer, example.prompt)
            if not all(text.startswith(closed) for text in full.values()):
                detail = "the template renders the prompt differently once the response follows"
                raise Unusable("template moves the prompt", detail)
            start = len(closed)
        return Rendered(prompt, full, start)

    def _cut(self, text: str, name: str) -> str:
        """Up to the end of turn: a newline after it would never be generated."""
        if not text.endswith(self.tail):
            detail = f"'{name}': the template does not end this conversation with {self.tail!r}"
            raise Unusable("template without end", detail)
        return text[: len(text) - len(self.tail) + self.kept]


def _render_row(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], is_open: bool = False) -> str:
    try:
        return _render(tokenizer, messages, is_open)
    except Exception as error:  # a template raises whatever it likes, jinja's errors share no public base
        raise Unusable("template refuses", (str(error).splitlines() or [type(error).__name__])[0]) from error


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], is_open: bool = False) -> str:
    text = tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=is_open, date_string=_DATE
    )
    assert isinstance(text, str)
    return text


def _special_texts(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return {*tokenizer.all_special_tokens, *added}


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__
