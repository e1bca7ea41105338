"""The model that benchmarks ask: it writes responses, or says how likely given ones are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from alignkit.benchmarks.decoding import Chat, Decoding
from alignkit.benchmarks.items import Item
from alignkit.data.fields import Message, Unusable
from alignkit.data.formats import Example as TextExample
from alignkit.data.raw import RawRow
from alignkit.data.readers import Prompt, Response
from alignkit.data.rows import TokenRow
from alignkit.data.tokenising import Tokeniser
from alignkit.errors import BenchmarkError
from alignkit.lazy import torch
from alignkit.models.generation import sample_groups
from alignkit.models.head import Draw
from alignkit.models.layout import Example
from alignkit.models.lengths import limits
from alignkit.models.policy import Policy
from alignkit.models.scorer import Want, causal_lm
from alignkit.seeds import derive

if TYPE_CHECKING:
    from numpy import ndarray
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Responses:
    """What a model wrote.

    Attributes:
        prompt: what it was given, as text.
        texts: its responses.
        ids: [T] token ids of each.
        finished: of each whether it ended by itself.
    """

    prompt: str
    texts: Sequence[str]
    ids: Sequence[ndarray]
    finished: Sequence[bool]


@dataclass(frozen=True)
class Subject:
    """A model that can be asked.

    Attributes:
        policy: the model with its tokenizer.
        batch_size: examples in one forward pass.
        autocast: context of the mixed precision.
    """

    policy: Policy
    batch_size: int = 32
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's."""
        return self.policy.tokenizer

    def prompt(self, question: str, shots: Sequence[tuple[str, str]], chat: Chat, template: str = "{}") -> Prompt:
        """A question after examples: turns of a conversation, or text with a blank line between them.

        Args:
            question: as the model is asked.
            shots: questions, and answers as they should be given.
            chat: whether it goes through the chat template.
            template: what a question looks like in a conversation.

        Raises:
            BenchmarkError: `chat` is true and the tokenizer has no template.
        """
        if not self.is_chat(chat):
            return "\n\n".join([*(f"{asked} {answer}" for asked, answer in shots), question])
        turns: list[Message] = []
        for asked, answer in shots:
            turns += [
                {"role": "user", "content": template.format(asked)},
                {"role": "assistant", "content": answer},
            ]
        return [*turns, {"role": "user", "content": template.format(question)}]

    def is_chat(self, chat: Chat) -> bool:
        """Whether prompts go through the chat template.

        Raises:
            BenchmarkError: they should and there is none.
        """
        has_template = bool(self.tokenizer.chat_template)
        if chat is True and not has_template:
            raise BenchmarkError(
                "a benchmark has chat: true, and the model's tokenizer has no chat template; give chat: auto or false"
            )
        return has_template if chat == "auto" else chat

    def respond(self, items: Sequence[Item], prompts: Sequence[Prompt], decoding: Decoding) -> list[Responses]:
        """Responses to prompts; each is the same whatever else is asked.

        Args:
            items: whose prompts they are.
            prompts: all text, or all messages.
            decoding: how.

        Raises:
            AlignkitError: a prompt cannot be rendered, or is too long for the model.
        """
        rows, end = self._rows(items, [(prompt, {}) for prompt in prompts])
        self._require_room(items, [len(row.prompt) + decoding.max_new_tokens for row in rows])
        numbers = range(decoding.samples)
        seeds = [[derive(decoding.seed, f"benchmark {item.name}", number) for number in numbers] for item in items]
        with self.autocast():
            groups = sample_groups(
                self.policy.model,
                [row.prompt for row in rows],
                seeds,
                Draw(decoding.temperature) if decoding.temperature else Draw(top_k=1),
                max_new_tokens=decoding.max_new_tokens,
                eos_id=end,
            )
        return [
            Responses(
                row.text["prompt"],
                [str(self.tokenizer.decode(ids, skip_special_tokens=True)) for ids, _ in group],
                [ids for ids, _ in group],
                [int(ids[-1]) == end for ids, _ in group],
            )
            for row, group in zip(rows, groups, strict=True)
        ]

    def likelihoods(
        self, items: Sequence[Item], asked: Sequence[tuple[Prompt, Sequence[str]]]
    ) -> list[tuple[str, list[float]]]:
        """Of each prompt the text that the model is given, and the log-prob of each of its continuations, nats.

        The end of a response is no part of a continuation.

        Args:
            items: whose prompts they are.
            asked: prompts, all text or all messages, each with its continuations.

        Raises:
            AlignkitError: a prompt cannot be rendered, is too long for the model, or a continuation has no tokens.
        """
        given = [(prompt, {str(k): _turn(prompt, text) for k, text in enumerate(texts)}) for prompt, texts in asked]
        rows, _ = self._rows(items, given)
        self._require_room(items, [row.length for row in rows])
        examples = []
        for item, row in zip(items, rows, strict=True):
            responses = [ids[:-1] for ids in row.responses.values()]
            if not all(map(len, responses)):
                raise BenchmarkError(f"{item.where or item.name}: a choice has no tokens; give each choice a text")
            examples.append(Example(row.prompt, responses))
        return list(zip((row.text["prompt"] for row in rows), self._scored(examples), strict=True))

    def _scored(self, examples: Sequence[Example]) -> Iterator[list[float]]:
        """Log-probs of the responses of each example; those with as many responses go through the model together."""
        for number, group in groupby(examples, lambda example: len(example.responses)):
            several, size = list(group), max(1, self.batch_size // number)
            for start in range(0, len(several), size):
                with torch.no_grad(), self.autocast():
                    batch = self.policy.collate(several[start : start + size])
                    yield from self.policy.scorer(batch, Want()).logp_BRT.double().sum(-1).tolist()

    def _rows(
        self, items: Sequence[Item], asked: Sequence[tuple[Prompt, Mapping[str, Response]]]
    ) -> tuple[list[TokenRow], int]:
        """Tokens of prompts and responses, and the token that ends a response."""
        places = [item.where or item.name for item in items]
        examples = [
            TextExample(RawRow(n, place, {}), prompt, responses)
            for n, (place, (prompt, responses)) in enumerate(zip(places, asked, strict=True))
        ]
        tokeniser = Tokeniser(self.tokenizer, "")
        rows = []
        for place, row in zip(places, tokeniser.rows(examples), strict=True):
            if isinstance(row, Unusable):
                raise BenchmarkError(f"{place}: {row}")
            rows.append(row)
        assert tokeniser.end is not None, "rows() refuses a tokenizer without"
        return rows, tokeniser.end

    def _require_room(self, items: Sequence[Item], lengths: Sequence[int]) -> None:
        longest, item = max(zip(lengths, items, strict=True), key=lambda pair: pair[0])
        for limit, reason in limits(causal_lm(self.policy.model)):
            if longest > limit:
                raise BenchmarkError(
                    f"{item.where or item.name}: prompt and response may take {longest} tokens, but the model {reason} "
                    f"{limit}; lower 'shots' or 'max_new_tokens'"
                )


def _turn(prompt: Prompt, text: str) -> Response:
    return text if isinstance(prompt, str) else {"role": "assistant", "content": text}
