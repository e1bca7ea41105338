"""What a tokenizer puts around a text, and control tokens that were typed into one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit.data.chat import special_texts
from alignkit.data.fields import Unusable
from alignkit.data.formats import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class SpecialTokens:
    """What the tokenizer puts around a text.

    Attributes:
        prefix: ids that it puts before every text; empty when it adds none.
        bos: its BOS id if `prefix` holds it; None when it adds no BOS.
        named_bos: its BOS id, whether it adds it or leaves that to the chat template.
        eos: its EOS id.
    """

    prefix: list[int]
    bos: int | None
    named_bos: int | None
    eos: int | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> SpecialTokens:
        """Found by tokenising a probe: a `bos_token` that is named is not always used."""
        bare = tokenizer("a", add_special_tokens=False)["input_ids"]
        ids = tokenizer("a")["input_ids"]
        starts = [start for start in range(len(ids)) if ids[start : start + len(bare)] == bare]
        prefix = ids[: starts[0]] if starts else []
        bos = tokenizer.bos_token_id
        return cls(prefix, bos if bos in prefix else None, bos, tokenizer.eos_token_id)

    def num_leading(self, prompt: Sequence[int]) -> int:
        """Tokens at the start of a prompt that open every text: the prefix, or the BOS of a template."""
        if self.prefix and list(prompt[: len(self.prefix)]) == self.prefix:
            return len(self.prefix)
        return int(self.named_bos is not None and len(prompt) > 0 and prompt[0] == self.named_bos)


class TypedTokens:
    """Finds control tokens that stand in a row's own text, where the tokenizer would read them as what they control.

    In a conversation none may be typed: the template writes them all. A plain text may open with BOS and hold what the
    tokenizer's chat template writes, because it may be a conversation that was rendered before; BOS and EOS in a
    response are left to the checks on tokens, which know where they may stand.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, special: SpecialTokens) -> None:
        texts = set() if getattr(tokenizer, "split_special_tokens", False) else special_texts(tokenizer)
        texts = {text for text in texts if text.strip()}
        template = str(tokenizer.chat_template or "")
        bos, eos = tokenizer.bos_token, tokenizer.eos_token
        named = {token for token, name in ((bos, "bos_token"), (eos, "eos_token")) if name in template}
        rendered = {text for text in texts if text in template} | named
        ends = {eos} | ({bos} if special.bos is not None else set())
        self._bos = str(bos or "")
        self._in_chat = _any_of(texts)
        self._in_prompt = _any_of(texts - rendered)
        self._in_response = _any_of(texts - rendered - ends)

    def refusal(self, example: Example) -> Unusable | None:
        """Why a row that holds one cannot be used."""
        try:
            self._refuse(example)
        except Unusable as error:
            return error
        return None

    def _refuse(self, example: Example) -> None:
        if isinstance(example.prompt, str):
            _refuse(self._in_prompt, "'prompt'", example.prompt.removeprefix(self._bos))
        else:
            for number, message in enumerate(example.prompt, start=1):
                _refuse(self._in_chat, f"'prompt', message {number}", message)
            _refuse(self._in_chat, "'tools'", getattr(example, "tools", None))
        for name, response in example.responses.items():
            _refuse(self._in_response if isinstance(response, str) else self._in_chat, f"'{name}'", response)


def _any_of(texts: set[str]) -> re.Pattern[str] | None:
    """Longer ones first, as some begin like others."""
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True)))) if texts else None


def _refuse(pattern: re.Pattern[str] | None, place: str, value: object) -> None:
    for text in _strings(value):
        if pattern and (found := pattern.search(text)):
            raise Unusable(
                "special token in text", f"{place} holds {found[0]!r}, which the tokenizer reads as a control token"
            )
        if not _is_unicode(text):
            raise Unusable("no Unicode text", f"{place} holds half of a surrogate pair")


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
