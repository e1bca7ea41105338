"""Control tokens that stand in a row's own text, where the tokenizer would read them as what they control."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alignkit.data.chat import special_texts
from alignkit.data.config import TypedAs
from alignkit.data.fields import Unusable
from alignkit.data.formats import Example
from alignkit.data.special_tokens import SpecialTokens
from alignkit.lazy import tokenizers

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase


class TypedToken(Unusable):
    """A text holds what the tokenizer reads as a control token."""


class TypedTokens:
    """Finds control tokens that were typed into a row.

    In a conversation none may be typed: the template writes them all. A plain text may open with BOS, its response may
    end with EOS, and it may hold what the tokenizer's chat template writes, because it may be a conversation that was
    rendered before. Where typed ones are refused, BOS and EOS in a response are left to the checks on tokens.

    Args:
        tokenizer: of the model.
        special: what it puts around a text.
        treated: what becomes of typed tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, special: SpecialTokens, treated: TypedAs = "error") -> None:
        texts = set() if getattr(tokenizer, "split_special_tokens", False) else special_texts(tokenizer)
        texts = {text for text in texts if text.strip()}
        template = str(tokenizer.chat_template or "")
        bos, eos = str(tokenizer.bos_token or ""), str(tokenizer.eos_token or "")
        named = {token for token, name in ((bos, "bos_token"), (eos, "eos_token")) if name in template}
        rendered = {text for text in texts if text in template} | named
        ends = {eos} | ({bos} if special.bos is not None else set())
        self._in_chat = _any_of(texts)
        self._in_prompt = _any_of(texts - rendered, rf"(?!\A{re.escape(bos)})" if bos else "")
        if treated == "error":
            self._in_response = _any_of(texts - rendered - ends)
        else:
            self._in_response = _any_of(texts - rendered, rf"(?!{re.escape(eos)}\Z)" if eos else "")

    def refusal(self, example: Example) -> Unusable | None:
        """Why a row cannot be used as it is: a `TypedToken`, or text that is none."""
        typed = None
        for place, pattern, value in self._places(example):
            for text in _strings(value):
                if not _is_unicode(text):
                    return Unusable("no Unicode text", f"{place} holds half of a surrogate pair")
                if typed is None and pattern and (found := pattern.search(text)):
                    detail = f"{place} holds {found[0]!r}, which the tokenizer reads as a control token"
                    typed = TypedToken("special token in text", detail)
        return typed

    def hidden(self, example: Example) -> Example:
        """The row with other signs in place of its typed tokens, as a `LiteralTokenizer` takes them."""
        return replace(
            example,
            prompt=_hidden(example.prompt, self._in_prompt if isinstance(example.prompt, str) else self._in_chat),
            responses={
                name: _hidden(response, self._in_response if isinstance(response, str) else self._in_chat)
                for name, response in example.responses.items()
            },
            tools=_hidden(example.tools, self._in_chat),
        )

    def _places(self, example: Example) -> Iterator[tuple[str, re.Pattern[str] | None, object]]:
        if isinstance(example.prompt, str):
            yield "'prompt'", self._in_prompt, example.prompt
        else:
            for number, message in enumerate(example.prompt, start=1):
                yield f"'prompt', message {number}", self._in_chat, message
            yield "'tools'", self._in_chat, example.tools
        for name, response in example.responses.items():
            yield f"'{name}'", self._in_response if isinstance(response, str) else self._in_chat, response


class LiteralTokenizer:
    """A tokenizer that reads control tokens as such where they are meant, and as text where they were typed.

    It is the model's own with other names for its control tokens: the same ids come out of the same steps, whatever
    the tokenizer does to text before and after a control token.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        texts = {text for text in special_texts(tokenizer) if text.strip()}
        self._tokenizer = _with_hidden_names(tokenizer.backend_tokenizer.to_str(), texts)
        self._either = _any_of(texts | {_other_signs(text) for text in texts})

    @staticmethod
    def fits(tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether the steps of `tokenizer` are known."""
        return hasattr(tokenizer, "backend_tokenizer")

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokens of texts with hidden typed tokens."""
        assert self._either is not None, "without control tokens none is typed"
        exchanged = [self._either.sub(_exchanged, text) for text in texts]
        return self._tokenizer.encode_batch(exchanged, add_special_tokens=False)


def _with_hidden_names(description: str, texts: Set[str]) -> Tokenizer:
    """The tokenizer of this description (its JSON) with other names for some of its tokens."""
    parts = json.loads(description)
    names = {text: _other_signs(text) for text in texts}
    for token in parts["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = parts["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
    else:  # Unigram: [piece, score]
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token") is not None:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    parts |= {"truncation": None, "padding": None}
    return tokenizers.Tokenizer.from_str(json.dumps(parts))


_PRIVATE = 0xF0000
"""Start of a plane of Unicode that has no characters of its own, and a sign for each of the basic plane's."""


def _other_signs(text: str) -> str:
    """As many signs, that no text has."""
    return "".join(chr(_PRIVATE + (ord(sign) & 0xFFFF)) for sign in text)


def _typed_sign(sign: str) -> str:
    return chr(ord(sign) - _PRIVATE) if _PRIVATE <= ord(sign) <= _PRIVATE + 0xFFFF else sign


def as_typed(text: str) -> str:
    """A text as it was before its typed tokens were hidden."""
    return "".join(map(_typed_sign, text))


def _exchanged(found: re.Match[str]) -> str:
    """What is meant gets other signs, what was typed gets its own back."""
    is_hidden = ord(found[0][0]) >= _PRIVATE
    return as_typed(found[0]) if is_hidden else _other_signs(found[0])


def _hidden(value: Any, pattern: re.Pattern[str] | None) -> Any:  # noqa: ANN401 -- of the type that it gets
    """The value with other signs in place of what the pattern finds in its strings."""
    if isinstance(value, str):
        return pattern.sub(lambda found: _other_signs(found[0]), value) if pattern else value
    if isinstance(value, dict):
        return {_hidden(key, pattern): _hidden(item, pattern) for key, item in value.items()}
    return [_hidden(item, pattern) for item in value] if isinstance(value, list) else value


def _any_of(texts: Set[str], unless: str = "") -> re.Pattern[str] | None:
    """Longer ones first, as some begin like others."""
    if not texts:
        return None
    return re.compile(f"{unless}(?:{'|'.join(map(re.escape, sorted(texts, key=len, reverse=True)))})")


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
