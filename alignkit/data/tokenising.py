"""Turns examples into token rows: where the response begins, one BOS, and one end token in every response.

Prompt and response are tokenised together, as a reader meets them, and the prompt alone, as it is given at generation.
The tokens on which these agree, for every response, are the prompt; a token that straddles the boundary belongs to the
response and is counted. Without responses the prompt is all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from alignkit.data.characters import PerText, offsets_of, overlaps, read_texts
from alignkit.data.chat import ChatTemplate, Rendered
from alignkit.data.columns import token_column
from alignkit.data.config import TypedAs
from alignkit.data.fields import Unusable
from alignkit.data.formats import Example
from alignkit.data.readers import num_shared
from alignkit.data.rows import TokenRow
from alignkit.data.special_tokens import SpecialTokens
from alignkit.data.typed_tokens import LiteralTokenizer, TypedToken, TypedTokens, as_typed
from alignkit.errors import DataError
from alignkit.lazy import numpy
from alignkit.records.fingerprints import text_fingerprint

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

_BATCH = 1000
"""Examples tokenised at once: enough to keep the tokenizer's threads busy, few enough to hold."""

Offsets = Sequence[tuple[int, int]]


class Tokeniser:
    """Tokenises the examples of one source.

    Attributes:
        special: the tokenizer's special tokens.
        counts: `boundary_moved` (rows), `bos_added` (chat rows whose template has no BOS), `eos_appended` (responses);
            where there are any, `opened_otherwise` (chat rows: generation opens with more than the row's prompt holds),
            `special_tokens_as_text` and `special_tokens_as_control` (rows that have some in their own text).
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        separator: str,
        of_text: Mapping[str, PerText] = MappingProxyType({}),
        typed_as: TypedAs = "as_text",
    ) -> None:
        self.counts: Counter[str] = Counter(boundary_moved=0, bos_added=0, eos_appended=0)
        self._tokenizer = tokenizer
        self._separator = separator
        self._of_text = of_text
        self.special = SpecialTokens.of(tokenizer)
        self._typed_as: TypedAs = typed_as
        self._typed = TypedTokens(tokenizer, self.special, typed_as)
        self._template: ChatTemplate | None = None

    def rows(self, examples: Sequence[Example]) -> Iterator[TokenRow | Unusable]:
        """A token row per example, or why there is none.

        Raises:
            DataError: conversations without a chat template, or a tokenizer without EOS where one is to be appended.
        """
        if examples and not isinstance(examples[0].prompt, str):
            self._template = ChatTemplate.of(self._tokenizer)
            if self._separator:
                raise DataError(f"data.separator: {self._separator!r} belongs to plain text; the data is conversations")
        if self.end is None:
            name = self._tokenizer.name_or_path
            raise DataError(
                f"tokenizer '{name}' has no EOS token, so a response could not end; set the tokenizer's eos_token"
            )
        if self._of_text and not self._tokenizer.is_fast:
            raise DataError(
                f"tokenizer '{self._tokenizer.name_or_path}' does not say which characters its tokens stand for, and "
                "token weights are to be read from the text; take a fast tokenizer (tokenizer.json)"
            )
        for start in range(0, len(examples), _BATCH):
            yield from self._batch(examples[start : start + _BATCH])

    @property
    def end(self) -> int | None:
        """The id that every response ends with: of the template's end of turn, else EOS. Known once rows are asked for.

        A response that is sampled ends with the same one."""
        of_template = self._template.end if self._template else None
        return self.special.eos if of_template is None else of_template

    def _batch(self, examples: Sequence[Example]) -> Iterator[TokenRow | Unusable]:
        readable = [self._readable(example) for example in examples]
        rendered = self._render(readable)
        texts: list[str] = []
        hidden: list[int] = []
        for example, given, one in zip(examples, readable, rendered, strict=True):
            if isinstance(one, Rendered):
                hidden += range(len(texts), len(texts) + 1 + len(one.full)) if given is not example else ()
                texts += (one.prompt, *one.full.values())
        needs_offsets = bool(self._of_text) or any(example.row.critical for example in examples)
        tokens = iter(self._encode(texts, hidden, needs_offsets=needs_offsets))
        for example, given, one in zip(examples, readable, rendered, strict=True):
            if isinstance(one, Unusable):
                yield one
                continue
            prompt, _ = next(tokens)
            full = {name: next(tokens) for name in one.full}
            shown = one if given is example else one.mapped(as_typed)
            try:
                yield self._row(example, shown, prompt, full)
            except Unusable as error:
                yield error

    def _readable(self, example: Example) -> Example | Unusable:
        """The example, with typed control tokens hidden where they are to be read as text; or why there is none."""
        refusal = self._typed.refusal(example)
        is_refused = self._typed_as == "error" or not LiteralTokenizer.fits(self._tokenizer)
        if not isinstance(refusal, TypedToken) or (is_refused and self._typed_as != "as_control"):
            return refusal or example
        self.counts[f"special_tokens_{self._typed_as}"] += 1
        return example if self._typed_as == "as_control" else self._typed.hidden(example)

    @cached_property
    def _literal(self) -> LiteralTokenizer:
        return LiteralTokenizer(self._tokenizer)

    def _render(self, examples: Sequence[Example | Unusable]) -> list[Rendered | Unusable]:
        """The texts of each example, or why there are none."""
        fair = [example for example in examples if isinstance(example, Example)]
        rendered = iter(self._template.render(fair) if self._template else map(self._joined, fair))
        return [next(rendered) if isinstance(example, Example) else example for example in examples]

    def _joined(self, example: Example) -> Rendered:
        assert isinstance(example.prompt, str), "the examples of a source are all chat or all text"
        prompt = example.prompt + self._separator
        return Rendered(prompt, {name: f"{prompt}{text}" for name, text in example.responses.items()}, len(prompt))

    def _encode(
        self, texts: list[str], hidden: Sequence[int], *, needs_offsets: bool
    ) -> list[tuple[list[int], Offsets]]:
        """Tokens of the texts, of which those with these numbers have hidden tokens."""
        if not texts:
            return []
        encoded = self._tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=needs_offsets,
            verbose=False,  # length is our business
        )
        ids = encoded["input_ids"]
        tokens = list(zip(ids, encoded["offset_mapping"] if needs_offsets else [()] * len(ids), strict=True))
        if hidden:
            for number, one in zip(hidden, self._literal.encode([texts[n] for n in hidden]), strict=True):
                tokens[number] = (one.ids, one.offsets)
        return tokens

    def _row(
        self, example: Example, rendered: Rendered, prompt: list[int], full: dict[str, tuple[list[int], Offsets]]
    ) -> TokenRow:
        cut = min((num_shared(prompt, ids) for ids, _ in full.values()), default=len(prompt))
        responses = {name: self._ended(ids[cut:], name) for name, (ids, _) in full.items()}
        begun = self._begun(prompt[:cut])
        for name, ids in responses.items():
            self._check_specials(name, begun, ids)
        if "rejected" in responses and responses["chosen"] == responses["rejected"]:
            raise Unusable("chosen equals rejected", "the two responses have the same tokens")
        token_columns = {
            suffix: {name: _per_token(numbers[name], len(responses[name]), name, suffix) for name in numbers}
            for suffix, numbers in example.token_columns.items()
        }
        opens_otherwise = rendered.start < len(rendered.prompt)
        if opens_otherwise:
            self.counts["opened_otherwise"] += 1
        self.counts["boundary_moved"] += cut < len(prompt) or opens_otherwise
        self.counts["bos_added"] += self._template is not None and len(begun) > cut
        self.counts["eos_appended"] += sum(len(responses[name]) > len(ids) - cut for name, (ids, _) in full.items())
        texts = {name: text if isinstance(text, str) else text["content"] for name, text in example.responses.items()}
        planted = {name: spans for name, spans in example.row.critical.items() if name in responses}
        read = [name for name in responses if self._of_text and name != "gold"]
        offsets = {
            name: self._offsets(full[name][1][cut:], len(responses[name]), rendered, texts[name], name)
            for name in dict.fromkeys([*planted, *read])
        }
        token_columns |= read_texts(self._of_text, texts, {name: offsets[name] for name in read})
        return TokenRow(
            index=example.row.index,
            where=example.row.where,
            prompt=numpy.array(begun, dtype=numpy.int32),
            responses={name: numpy.array(ids, dtype=numpy.int32) for name, ids in responses.items()},
            columns=example.columns,
            critical={name: overlaps(offsets[name], spans) for name, spans in planted.items()},
            text={"prompt": rendered.prompt, **texts},
            label=example.label,
            token_columns=token_columns,
            fields=example.fields,
            messages=None if responses or isinstance(example.prompt, str) else example.prompt,
        )

    def _offsets(self, found: Offsets, length: int, rendered: Rendered, text: str, name: str) -> np.ndarray:
        """[N, 2] the response's own characters that each of its tokens stands for."""
        full = rendered.full[name]
        end = len(full) - (self._template.kept if self._template else 0)
        return offsets_of(found, length, full, text, (rendered.start, end), name)

    def _begun(self, prompt: list[int]) -> list[int]:
        """The prompt with the tokenizer's prefix, which the text or the template may hold already."""
        if not self.special.num_leading(prompt):
            prompt = [*self.special.prefix, *prompt]
        if not prompt:
            raise Unusable("empty prompt", "no token comes before the response, and the tokenizer adds no BOS")
        return prompt

    def _ended(self, response: list[int], name: str) -> list[int]:
        end = self.end
        assert end is not None
        if response[-1:] != [end]:
            response = [*response, end]
        if response.count(end) > 1:
            token = self._tokenizer.convert_ids_to_tokens(end)
            raise Unusable("end token inside", f"'{name}' holds {token!r} before its end")
        return response

    def _check_specials(self, name: str, prompt: list[int], response: list[int]) -> None:
        """BOS leads, and no response holds one; where BOS and EOS are the same token, responses end with it.

        A prompt may hold further ones, which its template wrote: that of Llama 2 puts one before each turn of the user.
        """
        bos, eos = self.special.bos, self.special.eos
        if bos is not None and bos != eos:
            if bos in response:
                token = self._tokenizer.convert_ids_to_tokens(bos)
                num_bos = prompt.count(bos) + response.count(bos)
                raise Unusable("second BOS", f"prompt and '{name}' hold {num_bos} times {token!r}")
            assert bos in prompt[: max(1, len(self.special.prefix))], "BOS must lead the prompt"
        assert response[-1] == self.end and response.count(response[-1]) == 1, "one end token, at the end"


def template_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """blake2b of the chat template, hex; `none` when the tokenizer has none."""
    template = tokenizer.chat_template
    return text_fingerprint(template if isinstance(template, str) else repr(template)) if template else "none"


def _per_token(numbers: np.ndarray, length: int, name: str, suffix: str) -> np.ndarray:
    """[length] float32; one number fewer is one per token but the end token, which then has 0."""
    if len(numbers) == length - 1:
        return numpy.append(numbers, numpy.float32(0))
    if len(numbers) != length:
        raise Unusable(
            "wrong length",
            f"'{token_column(name, suffix)}': {len(numbers)} numbers, but '{name}' has {length} tokens, EOS included; "
            f"expected {length}, or {length - 1} without one for EOS",
        )
    return numbers
