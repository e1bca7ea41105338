"""What checks look at: the rows of a recipe as text and as tokens, read to the end whatever is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from alignkit.data.checks import Offender
from alignkit.data.config import DataConfig
from alignkit.data.formats import Example
from alignkit.data.naming import on_world
from alignkit.data.readers import OTHER_TURN, TURN
from alignkit.data.rows import TokenRow
from alignkit.doctor.grams import Texts, WordHashes
from alignkit.doctor.minhash import Sketches
from alignkit.doctor.patterns import FORMATS
from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray
    from transformers import PreTrainedTokenizerBase

    from alignkit.doctor.reference import ReferenceSays

ItemT = TypeVar("ItemT")


def spaced(items: Sequence[ItemT], most: int) -> Sequence[ItemT]:
    """At most so many of the items, evenly spaced; for what is too slow to be asked of all."""
    if len(items) <= most:
        return items
    return [items[number * len(items) // most] for number in range(most)]


@dataclass(frozen=True)
class Row:
    """A row that can be read as prompt and responses.

    Attributes:
        where: `file:line`.
        example: prompt and responses as text or messages.
        tokens: the row as the model sees it; cut, where `data.on_overflow` cuts. None of some rows of a large set.
        length: tokens of prompt and longest response before that; 0 without tokens.
        straddles: whether a token holds the end of the prompt and the start of a response.
        held_out: whether it is evaluated on rather than trained on.
    """

    where: str
    example: Example
    tokens: TokenRow | None
    length: int = 0
    straddles: bool = False
    held_out: bool = False

    @cached_property
    def prompt(self) -> str:
        """The prompt as text: the contents of its messages, a line each."""
        prompt = self.example.prompt
        return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)

    @cached_property
    def question(self) -> str:
        """What the user said last."""
        prompt = self.example.prompt
        if not isinstance(prompt, str):
            return str(prompt[-1]["content"])
        return prompt.removesuffix(TURN).rpartition(OTHER_TURN)[2]

    @cached_property
    def responses(self) -> dict[str, str]:
        """Response name -> text."""
        given = self.example.responses
        return {name: text if isinstance(text, str) else text["content"] for name, text in given.items()}


@dataclass(frozen=True)
class Pair:
    """Chosen and rejected as text, with the row they are from."""

    row: Row
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Case:
    """All that checks may look at.

    Attributes:
        rows: the rows that can be read, those of `data.train` first.
        refused: the rows that cannot be used.
        left_out: those that `data.on_overflow: drop` leaves out.
        obstacles: why the rows as a whole cannot be trained on, as a run would say it.
        data: the recipe's `data` section.
        tokenizer: the recipe's.
        unwanted: rows that have nothing for this trainer, such as ties.
        end: id of the token that ends every response.
        counts: what tokenising counted (`DataReport.counts`).
        others: name -> prompts of the sets that must not be trained on.
        reference: what the reference model says of each pair; None without a model.
    """

    rows: Sequence[Row]
    refused: Sequence[Offender]
    left_out: Sequence[Row]
    obstacles: Sequence[str]
    data: DataConfig
    tokenizer: PreTrainedTokenizerBase
    unwanted: Sequence[Offender] = ()
    end: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reference: ReferenceSays | None = None

    @property
    def num_read(self) -> int:
        """All rows that were read."""
        return len(self.rows) + len(self.refused) + len(self.left_out) + len(self.unwanted)

    @cached_property
    def train(self) -> list[Row]:
        """The rows that are trained on."""
        return [row for row in self.rows if not row.held_out]

    @cached_property
    def held_out(self) -> list[Row]:
        """The rows that are evaluated on."""
        return [row for row in self.rows if row.held_out]

    @cached_property
    def pairs(self) -> list[Pair]:
        """The rows with a chosen and a rejected response, trained on or not."""
        return [
            Pair(row, row.responses["chosen"], row.responses["rejected"])
            for row in self.rows
            if row.responses.keys() >= {"chosen", "rejected"}
        ]

    @cached_property
    def tokenised(self) -> list[tuple[Row, TokenRow]]:
        """The rows that have tokens, with them."""
        return [(row, row.tokens) for row in self.rows if row.tokens is not None]

    @cached_property
    def hashes(self) -> WordHashes:
        """Numbers of words, shared by all checks."""
        return WordHashes()

    @cached_property
    def prompts(self) -> list[str]:
        """The different prompts trained on, in the order of the rows."""
        return list(dict.fromkeys(row.prompt for row in self.train))

    @cached_property
    def prompt_words(self) -> Texts:
        """`prompts` as words."""
        return Texts.of(self.prompts, self.hashes)

    @cached_property
    def sketches(self) -> Sketches:
        """`prompts` as sets of runs."""
        return Sketches.of(self.prompt_words)

    @cached_property
    def num_words(self) -> ndarray:
        """[n, 2] int64 words of the chosen and the rejected response of each pair."""
        counts = [(len(pair.chosen.split()), len(pair.rejected.split())) for pair in self.pairs]
        return np.array(counts, dtype=np.int64).reshape(-1, 2)

    @cached_property
    def formats(self) -> dict[str, ndarray]:
        """Name of a way to write -> [n, 2] bool, whether the chosen and the rejected response have it."""
        return {
            name: np.array([(has(pair.chosen), has(pair.rejected)) for pair in self.pairs], dtype=bool).reshape(-1, 2)
            for name, has in FORMATS.items()
        }

    def places(self, is_found: ndarray) -> list[str]:
        """Places of the pairs that are True in [n] bool."""
        return [self.pairs[place].row.where for place in np.flatnonzero(is_found).tolist()]

    @cached_property
    def test_sets(self) -> dict[str, list[tuple[str, str]]]:
        """Name of a set that must not be trained on -> (place, prompt) of each of its items, prompts once each.

        Not the built-in world's held-out rows, which are of the same few sentences on purpose."""
        held = [] if on_world(self.data) else self.held_out
        own = {row.prompt: row.where for row in reversed(held) if row.prompt.strip()}
        sets = {"held-out rows": [(where, prompt) for prompt, where in reversed(own.items())]}
        for name, prompts in self.others.items():
            first = {prompt: number for number, prompt in reversed(list(enumerate(prompts, start=1)))}
            sets[name] = [(f"{name}:row {number}", prompt) for prompt, number in reversed(first.items())]
        return {name: items for name, items in sets.items() if items}
