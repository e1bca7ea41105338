"""A data row on its way to the model: text with its place, then tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from alignkit.data.sources.base import Part

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)  # there are as many as rows, on every process
class TokenRow:
    """One example as token ids.

    Attributes:
        index: number of the row in its source, from 0; 2i and 2i + 1 for the halves of pair i. Seeds refer to it.
        where: `file:line` (or `data set:row`), for messages.
        prompt: prompt token ids, int32, one BOS at most, never empty.
        responses: response name (`chosen`, `rejected`, `completion`) -> token ids, int32, EOS included, never empty;
            none in rows of prompts.
        columns: data columns that a component needs, one number each.
        critical: response name -> bool per token, True on the planted critical tokens, where there are any.
        text: prompt and responses as text, for reports and rewards.
        label: whether the response is desirable; None where the responses' names say it (`chosen`, `rejected`).
        token_columns: column suffix, or key of what was read from the text -> response name -> float32, one number per
            response token.
        fields: data columns as the data gives them, those that rewards read.
        messages: in rows of prompts, the prompt as messages; None where the data is plain text.
    """

    index: int
    where: str
    prompt: np.ndarray
    responses: Mapping[str, np.ndarray]
    columns: Mapping[str, float] = field(default_factory=dict)
    critical: Mapping[str, np.ndarray] = field(default_factory=dict)
    text: Mapping[str, str] = field(default_factory=dict)
    label: bool | None = None
    token_columns: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[Mapping[str, Any]] | None = None

    @property
    def weighted(self) -> tuple[str, ...]:
        """Names of the responses that carry token weights: all but a gold one, which comes last."""
        return tuple(name for name in self.responses if name != "gold")

    @property
    def key(self) -> bytes:
        """Tells rows apart, in whatever table they stand: number and place do not, where a pair was taken apart or its
        labels swapped. A digest of 16 bytes."""
        digest = hashlib.blake2b(f"{self.index};{self.where}".encode(), digest_size=16)
        for name, ids in (("prompt", self.prompt), *((name, self.responses[name]) for name in self.weighted)):
            digest.update(f";{name}:{len(ids)};".encode())
            digest.update(ids.astype("<i4", copy=False).tobytes())
        return digest.digest()

    @property
    def without_gold(self) -> TokenRow:
        """The same row with the responses that carry token weights only."""
        return replace(self, responses={name: self.responses[name] for name in self.weighted})

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt and all responses."""
        return len(self.prompt) + sum(map(len, self.responses.values()))

    @property
    def length(self) -> int:
        """Tokens of the prompt and the longest response, if there is any."""
        return len(self.prompt) + max((len(ids) for ids in self.responses.values()), default=0)


@dataclass(frozen=True)
class DataReport:
    """What became of the rows of one source; `rows == used + sum(dropped.values())`, asserted.

    Attributes:
        source: the file, Hub id or builtin.
        format: the format found, in words.
        rows: rows read.
        used: rows kept.
        dropped: reason -> rows.
        counts: facts counted on the way: `boundary_moved`, `truncated_prompt`, `eos_appended`, `labels_swapped`,
            `unpaired` (training rows made from pairs), `held_out`, `earlier_turns_untrained` (rows of a supervised run
            whose prompt holds turns of the assistant), ...
        fingerprint: blake2b of the token rows, hex.
        unused_columns: names of the columns that nothing reads.
        part: what the rows are for.
        weight: how many times each training row comes in one pass; where it is not 1, `counts` has `weighted`, the
            training rows of one pass.
        is_chat: whether the rows are conversations, which the chat template renders.
    """

    source: str
    format: str
    rows: int
    used: int
    dropped: Mapping[str, int]
    counts: Mapping[str, int]
    fingerprint: str
    unused_columns: tuple[str, ...] = ()
    part: Part = "train"
    weight: float = 1.0
    is_chat: bool = False


@dataclass(frozen=True)
class Tables:
    """The training and the held-out rows of a run, with what became of each source.

    Attributes:
        train: training rows.
        eval: held-out rows.
        reports: one per source.
        end: id of the token that ends the responses, so that sampled ones end with it too.
    """

    train: tuple[TokenRow, ...]
    eval: tuple[TokenRow, ...]
    reports: tuple[DataReport, ...]
    end: int
