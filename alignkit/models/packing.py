"""One row of tokens without padding, and where attention finds them: prompts first, each once, then the responses.

A decoder works on the tokens as they lie. Only attention puts them into padded tables, segments of similar lengths
together, and its output back (`alignkit.models.attention`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit.lazy import numpy as np
from alignkit.lazy import torch

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

WASTE = {"cpu": 2**12, "elsewhere": 2**20}
"""Pairs of padding (query, key) that cost about as much as one more call of the attention kernel."""


@dataclass(frozen=True)
class Tables:
    """Segments of a row, padded on the right and put together in tables.

    Attributes:
        place_M: [M] int64; the place in the row of each entry of all tables, one table after the other; 0 on padding.
        shapes: segments and length of each table.
    """

    place_M: Tensor
    shapes: Sequence[tuple[int, int]]

    def of(self, values_NF: Tensor) -> list[Tensor]:
        """[S, L, F] each, of values at the places of the row."""
        parts = lookup(self.place_M, values_NF).split([s * length for s, length in self.shapes])  # type: ignore[no-untyped-call]
        return [part.view(*shape, -1) for part, shape in zip(parts, self.shapes, strict=True)]


@dataclass(frozen=True)
class Segments:
    """What attends in one pass of the decoder: sequences that lie one after the other.

    Attributes:
        queries: the sequences.
        keys: what each of them may look at: itself, after its prompt if it is a response.
        slot_N: [N] int64; the entry of the queries' tables that is each token of the pass.
        before: [S] int64 for each table; how many keys come before a segment's first query.
    """

    queries: Tables
    keys: Tables
    slot_N: Tensor
    before: Sequence[Tensor]


@dataclass(frozen=True)
class Packing:
    """How a packed row is attended to.

    Attributes:
        num_prompt: tokens of the prompts, which come first.
        prompts: the prompts.
        responses: the responses; their keys lie in the whole row.
    """

    num_prompt: int
    prompts: Segments
    responses: Segments


def lookup(index: Tensor, values_NF: Tensor) -> Tensor:
    """Rows of `values_NF` in the shape of `index`; the gradients of a row found twice are added in one order."""
    found: Tensor = torch.nn.functional.embedding(index, values_NF)
    return found


def starts(lengths: ndarray) -> ndarray:
    """Where each of several sequences begins that lie one after the other."""
    begins: ndarray = lengths.cumsum() - lengths
    return begins


def pack(prompts: ndarray, responses: ndarray, prompt_R: ndarray, device: torch.device | str) -> Packing:
    """The tables of a packed row.

    Args:
        prompts: [S] tokens of each prompt.
        responses: [R] tokens of each response.
        prompt_R: [R] which prompt each response answers.
        device: where the tensors go.
    """
    num_prompt, none = int(prompts.sum()), np.zeros_like(prompts)
    of_responses = (prompts[prompt_R], starts(prompts)[prompt_R], num_prompt + starts(responses))
    return Packing(
        num_prompt, _segments(prompts, none, none, starts(prompts), device), _segments(responses, *of_responses, device)
    )


def _segments(lengths: ndarray, before: ndarray, prompt: ndarray, own: ndarray, device: torch.device | str) -> Segments:
    """Segments of `lengths` tokens after `before` others.

    Args:
        lengths: [S] tokens of each segment.
        before: [S] keys before these.
        prompt: [S] where those begin in the row of keys.
        own: [S] where the segment itself begins there.
        device: where the tensors go.
    """
    kind = device if isinstance(device, str) else device.type
    groups = list(_alike(lengths, before + lengths, WASTE["cpu" if kind.startswith("cpu") else "elsewhere"]))
    queries, keys, slot_N, num_entries = [], [], np.empty(lengths.sum(), dtype=np.int64), 0
    for group in groups:
        within_L, within_K = np.arange(lengths[group].max()), np.arange((before + lengths)[group].max())
        length_S1, before_S1, prompt_S1, own_S1 = (part[group][:, None] for part in (lengths, before, prompt, own))
        is_token_SL = within_L < length_S1
        queries.append(np.where(is_token_SL, starts(lengths)[group][:, None] + within_L, 0))
        key_SK = np.where(within_K < before_S1, prompt_S1 + within_K, own_S1 + within_K - before_S1)
        keys.append(np.where(within_K < before_S1 + length_S1, key_SK, 0))
        slot_N[queries[-1][is_token_SL]] = num_entries + np.flatnonzero(is_token_SL)
        num_entries += is_token_SL.size
    counts = [torch.from_numpy(before[group]).to(device) for group in groups]
    return Segments(_tables(queries, device), _tables(keys, device), torch.from_numpy(slot_N).to(device), counts)


def _alike(queries: ndarray, keys: ndarray, waste: int) -> Iterator[ndarray]:
    """Numbers of the segments that share a table, the longest first: as many as waste no more than another call."""
    group, used, most = list[int](), 0, 0
    for number in np.argsort(-keys, kind="stable"):
        num_queries = max(most, int(queries[number]))
        area = int(queries[number] * keys[number])
        if group and (len(group) + 1) * num_queries * int(keys[group[0]]) - used - area > waste:
            yield np.array(group)
            group, used, num_queries = [], 0, int(queries[number])
        group.append(int(number))
        used, most = used + area, num_queries
    yield np.array(group)


def _tables(places: Sequence[ndarray], device: torch.device | str) -> Tables:
    place_M = np.concatenate([place.ravel() for place in places])
    return Tables(torch.from_numpy(place_M).to(device), [(len(place), place.shape[1]) for place in places])
