"""Renders conversations with the tokenizer's chat template, and finds what the template ends a response with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from alignkit.data.fields import Message, Unusable
from alignkit.data.formats import Example
from alignkit.data.template_watch import Watch
from alignkit.errors import DataError
from alignkit.lazy import transformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")
Tools = list[dict[Any, Any] | Callable[..., Any]] | None

_PROBE = "zebra"
_QUESTION: Message = {"role": "user", "content": "horse"}
_DAY = datetime(2024, 7, 26)
"""Templates that write today's date get this one (Llama 3.1's own default), or rows would differ from day to day."""


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

    def mapped(self, change: Callable[[str], str]) -> Rendered:
        """The same with other signs, as many of them."""
        return Rendered(change(self.prompt), {name: change(text) for name, text in self.full.items()}, self.start)


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
        reply: Message = {"role": "assistant", "content": _PROBE}
        probe = _watched(tokenizer, lambda watch: _probe(tokenizer, watch, [_QUESTION, reply]))
        _, found, tail = probe.rpartition(_PROBE)
        if not found:
            raise DataError(
                f"the chat template of tokenizer '{_name(tokenizer)}' does not show what the assistant says"
            )
        ends = [(tail.find(text), text) for text in special_texts(tokenizer) if text in tail]
        if not ends:
            return cls(tokenizer, tail, 0, None)
        place, text = min(ends)
        end = tokenizer.convert_tokens_to_ids(text)
        assert isinstance(end, int)
        return cls(tokenizer, tail, place + len(text), end)

    def render(self, examples: Sequence[Example]) -> list[Rendered | Unusable]:
        """The texts of each example, or why there are none.

        Raises:
            DataError: the template takes more time or memory than any real one.
        """
        return _watched(self.tokenizer, lambda watch: [self._rendered_or_not(example, watch) for example in examples])

    def _rendered_or_not(self, example: Example, watch: Watch) -> Rendered | Unusable:
        try:
            return self._rendered(example, watch)
        except Unusable as error:
            return error

    def _rendered(self, example: Example, watch: Watch) -> Rendered:
        assert isinstance(example.prompt, list)
        tools: Tools = getattr(example, "tools", None)
        prompt = self._render_row(example.prompt, tools, watch, is_open=True)
        self._require_shown(example.prompt, tools, prompt)
        self._require_calls(example.prompt, tools, watch, prompt, "prompt")
        messages = {name: message for name, message in example.responses.items() if isinstance(message, dict)}
        full = {
            name: self._cut(self._render_row([*example.prompt, message], tools, watch), name)
            for name, message in messages.items()
        }
        start = len(prompt)
        if not all(text.startswith(prompt) for text in full.values()):
            # The header that opens a turn may differ (a thinking block, say), the conversation before it may not.
            closed = self._render_row(example.prompt, tools, watch)
            if not all(text.startswith(closed) for text in full.values()):
                detail = "the template renders the prompt differently once the response follows"
                raise Unusable("template moves the prompt", detail)
            start = len(closed)
        for name, text in full.items():
            self._require_calls([*example.prompt, messages[name]], tools, watch, text, name)
            if unspaced(messages[name]["content"]) not in unspaced(text[start:]):
                # Some templates cut the thinking off the last reply too, which is what the row is there to teach.
                detail = f"'{name}': the template leaves out a part of the response; give one that keeps it"
                raise Unusable("template drops text", f"{detail} with model.chat_template")
        return Rendered(prompt, full, start)

    def _require_shown(self, messages: Sequence[Message], tools: Tools, prompt: str) -> None:
        """Nothing that was asked may be missing; earlier replies may, as templates cut the thinking off on purpose."""
        if tools and "tools" not in str(self.tokenizer.get_chat_template(None, tools)):  # type: ignore[arg-type]
            raise Unusable("template drops tools", "the chat template has no place for 'tools'")
        shown = unspaced(prompt)
        for number, message in enumerate(messages, start=1):
            said = unspaced(message["content"])
            if message["role"] == "tool":
                said = said if said in shown else unspaced(json.dumps(message["content"], ensure_ascii=False)[1:-1])
            if message["role"] in ("system", "user", "tool") and said not in shown:
                detail = f"'prompt': the template leaves out a part of message {number}, the {message['role']}'s"
                raise Unusable("template drops text", detail)

    def _require_calls(self, messages: Sequence[Message], tools: Tools, watch: Watch, text: str, column: str) -> None:
        """Calls of tools are shown: without them the text is another, and each is in it as it stands in the row."""
        calls = [call.get("function", call) for message in messages for call in message.get("tool_calls") or ()]
        if not calls or (column != "prompt" and not messages[-1].get("tool_calls")):
            return
        try:
            bare = [{key: value for key, value in message.items() if key != "tool_calls"} for message in messages]
            dropped = self._render_row(bare, tools, watch, is_open=column == "prompt").startswith(text)
        except Unusable:  # a result without a call, say
            dropped = False
        if dropped or not all(call["name"] in text for call in calls):
            raise Unusable("template drops tool calls", f"'{column}': the chat template has no place for 'tool_calls'")
        for arguments in (call.get("arguments") for call in calls):
            if isinstance(arguments, str) and unspaced(arguments) not in unspaced(text):
                detail = f"'{column}': the template writes the text of 'arguments' otherwise; give an object instead"
                raise Unusable("template changes tool calls", detail)

    def _render_row(self, messages: Sequence[Message], tools: Tools, watch: Watch, is_open: bool = False) -> str:
        try:
            return _render(self.tokenizer, messages, watch, tools, is_open)
        except Exception as error:  # a template raises whatever it likes, jinja's errors share no public base
            raise Unusable("template refuses", _reason(error)) from error

    def _cut(self, text: str, name: str) -> str:
        """Up to the end of turn: a newline after it would never be generated."""
        if not text.endswith(self.tail):
            detail = f"'{name}': the template does not end this conversation with {self.tail!r}"
            raise Unusable("template without end", detail)
        return text[: len(text) - len(self.tail) + self.kept]


def question_marks(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """How a user's question begins and ends as the chat template writes it: its first control token after BOS, or what
    stands in its place, and all from the question to where the assistant is to speak.

    Raises:
        DataError: the template cannot be used.
    """
    text = _watched(tokenizer, lambda watch: _probe(tokenizer, watch, [_QUESTION], is_open=True))
    before, _, after = text.partition(_QUESTION["content"])
    before = before.strip().removeprefix(tokenizer.bos_token or "").lstrip()
    opening = max((text for text in special_texts(tokenizer) if text and before.startswith(text)), key=len, default="")
    return opening or before, after.strip()


def _watched(tokenizer: PreTrainedTokenizerBase, work: Callable[[Watch], T]) -> T:
    watch = Watch()
    try:
        return watch.run(lambda: work(watch))
    except DataError:
        if not watch.excess:
            raise
        raise DataError(f"the chat template of tokenizer '{_name(tokenizer)}' {watch.excess}") from None


def _probe(tokenizer: PreTrainedTokenizerBase, watch: Watch, messages: Sequence[Message], is_open: bool = False) -> str:
    try:
        return _render(tokenizer, messages, watch, is_open=is_open)
    except Exception as error:  # as for rows
        name = _name(tokenizer)
        raise DataError(f"the chat template of tokenizer '{name}' cannot be used: {_reason(error)}") from error


def _render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    watch: Watch,
    tools: Tools = None,
    is_open: bool = False,
) -> str:
    watch.begin()
    _make_repeatable(tokenizer.get_chat_template(None, tools))  # type: ignore[arg-type]
    date = f"{_DAY:%d %b %Y}"
    text = tokenizer.apply_chat_template(
        list(messages), tools=tools, tokenize=False, add_generation_prompt=is_open, date_string=date
    )
    assert isinstance(text, str)
    return text


def _make_repeatable(template: str) -> None:
    """Takes clock and dice from a template; transformers keeps what it compiled and renders that."""
    compiled = transformers.utils.chat_template_utils._compile_jinja_template(template)
    compiled.globals["strftime_now"] = _DAY.strftime
    compiled.environment.globals.pop("lipsum", None)
    compiled.environment.filters.pop("random", None)


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def unspaced(text: str) -> str:
    """Without white space, which templates trim and add."""
    return "".join(text.split())


def special_texts(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """What the tokenizer's control tokens look like in text."""
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return {*tokenizer.all_special_tokens, *added}


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__
