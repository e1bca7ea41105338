"""From token rows to model input: one row of all tokens, prompt-shared rows, or one row per response.

- `packed`: a single row without padding, all different prompts one after the other, then all responses.
- `shared`: a row `[prompt | chosen | rejected | anchor]` for each example; a mask keeps the responses apart.
- `separate`: a row `[prompt | response]` for each response.

The first two compute a prompt once for all responses, whose positions restart after it. Everything downstream reads
index tensors only and does not know the layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from alignkit.lazy import numpy as np
from alignkit.lazy import torch
from alignkit.models.packing import Packing, pack, starts

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

Layout = Literal["packed", "shared", "separate"]


@dataclass(frozen=True)
class Example:
    """The token ids of one example: a prompt and its responses, in the order they are laid out."""

    prompt: ndarray
    responses: Sequence[ndarray]


@dataclass(frozen=True)
class Packed:
    """Response tokens without padding. The indices are made with the batch: finding them in a mask would wait for the
    device.

    Attributes:
        ids_N: [N] int64 their token ids.
        predictor_N: [N] int64 the position that predicts each, counted through the flattened [X, L].
        slot: [B, R, T] (or [B, T] for one response) int64; place of each response token among the N, N off the mask.
    """

    ids_N: Tensor
    predictor_N: Tensor
    slot: Tensor

    def pack(self, values: Tensor) -> Tensor:
        """[N] the values at the tokens, of a table in the shape of `slot`; without gradient."""
        table_N1 = values.new_zeros(len(self.ids_N) + 1)  # all that lies off the mask falls into the last place
        return table_N1.scatter(0, self.slot.flatten(), values.detach().flatten())[:-1]

    def unpack(self, values_N: Tensor) -> Tensor:
        """The values at their tokens, in the shape of `slot`, and 0 off the mask."""
        # As the lookup of an embedding, whose gradient is the same whatever the timing of threads.
        table_N1 = torch.cat([values_N, values_N.new_zeros(1)])[:, None]
        found: Tensor = torch.nn.functional.embedding(self.slot, table_N1, padding_idx=len(values_N)).squeeze(-1)
        return found


@dataclass(frozen=True)
class Batch:
    """Model input, and where each response token lies in it.

    Attributes:
        ids_XL: [X, L] int64 token ids.
        positions_XL: [X, L] int64; restart after the prompt for each response.
        attention: [X, L] bool for separate rows (True on tokens), [X, 1, L, L] bool for shared ones (True where row i
            may look at column j), [1, 1, 1, 1] in place of one for a packed row.
        mask_BRT: [B, R, T] bool; True on response tokens.
        row_BRT: [B, R, T] int64; the row of each response token, 0 off the mask.
        place_BRT: [B, R, T] int64; its position in that row.
        predictor_BRT: [B, R, T] int64; the position whose hidden state predicts it.
        prompt_mask_BP: [B, P] bool; True on prompt tokens, which lie at places 0.. of each row of their example unless
            the row is packed.
        packed: the response tokens one after the other, by example, then response, then place.
        first: those of each example's first response alone.
        prompt: the prompt tokens but the first, which nothing predicts, from the row of each example's first response;
            its `slot` is [B, P].
        packing: who looks at whom in a packed row; None in the other layouts.
    """

    ids_XL: Tensor
    positions_XL: Tensor
    attention: Tensor
    mask_BRT: Tensor
    row_BRT: Tensor
    place_BRT: Tensor
    predictor_BRT: Tensor
    prompt_mask_BP: Tensor
    packed: Packed
    first: Packed
    prompt: Packed
    packing: Packing | None = None

    def passes(self, values_XL: Tensor) -> tuple[Tensor, ...]:
        """The places of each pass of the decoder, along the second dimension; the last pass holds the responses."""
        if self.packing is None:
            return (values_XL,)
        num_prompt = self.packing.num_prompt
        return values_XL.split([num_prompt, values_XL.shape[1] - num_prompt], dim=1)  # type: ignore[no-untyped-call, no-any-return]

    @property
    def ids_BRT(self) -> Tensor:
        """[B, R, T] int64 response token ids; meaningless off the mask."""
        return self.ids_XL[self.row_BRT, self.place_BRT]

    @property
    def predicted_prompt_BP(self) -> Tensor:
        """[B, P] bool; True on prompt tokens but the first, which nothing predicts."""
        predicted_BP = self.prompt_mask_BP.clone()
        predicted_BP[:, 0] = False
        return predicted_BP

    @property
    def last_BR(self) -> Tensor:
        """[B, R] int64 index in T of the last token of each response."""
        return self.mask_BRT.sum(-1) - 1


def collate(examples: Sequence[Example], layout: Layout, pad_id: int, device: torch.device | str = "cpu") -> Batch:
    """Lays out `examples`, padding on the right.

    Args:
        examples: each with the same number of responses; prompts and responses are never empty.
        layout: see above.
        pad_id: token id of padding; masked everywhere, so any valid id does.
        device: where the tensors go.
    """
    num_responses = len(examples[0].responses)
    assert all(len(e.responses) == num_responses and len(e.prompt) > 0 for e in examples)
    laid = _one_row(examples) if layout == "packed" else _padded_rows(examples, layout == "shared", pad_id)
    lengths_B1 = np.array([[len(e.prompt)] for e in examples])
    prompt_mask_BP = np.arange(lengths_B1.max())[None] < lengths_B1
    arrays = (laid.ids_XL, laid.positions_XL, laid.segment_XL, laid.place, prompt_mask_BP)
    ids, positions, segments, places, prompt_mask = (torch.from_numpy(array).to(device) for array in arrays)
    attention = _shared_attention(segments) if layout == "shared" else segments >= 0
    mask, row, within, predictor = places
    tables = (laid.place, laid.place[:, :, 0], _prompt_places(prompt_mask_BP, laid))
    response, first, prompt = (_packed(laid.ids_XL, table, device) for table in tables)
    places_BRT = (mask.bool(), row, within, predictor)
    packing = None if laid.lengths is None else pack(*laid.lengths, device)
    return Batch(ids, positions, attention, *places_BRT, prompt_mask, response, first, prompt, packing)


class _Laid(NamedTuple):
    """A batch on the host.

    Attributes:
        ids_XL: [X, L] token ids.
        positions_XL: [X, L] positions.
        segment_XL: [X, L] 0 on the prompt, 1.. on the responses of a row, -1 on padding; [1, 1, 1, 1] of a packed row.
        place: [4, B, R, T] mask, row, place and predictor of each response token.
        prompt_B: [B] place of each example's prompt in the row of its first response.
        lengths: tokens of the prompts, of the responses, and which prompt each of these answers; of a packed row.
    """

    ids_XL: ndarray
    positions_XL: ndarray
    segment_XL: ndarray
    place: ndarray
    prompt_B: ndarray
    lengths: tuple[ndarray, ndarray, ndarray] | None = None


def _one_row(examples: Sequence[Example]) -> _Laid:
    """All tokens one after the other: each different prompt once, then the responses by example."""
    numbers: dict[bytes, int] = {}
    prompt_B = np.array([numbers.setdefault(e.prompt.astype(np.int64).tobytes(), len(numbers)) for e in examples])
    prompts = [np.frombuffer(ids, dtype=np.int64) for ids in numbers]
    responses = [response for e in examples for response in e.responses]
    num_responses = len(examples[0].responses)
    prompt_R = prompt_B.repeat(num_responses)
    prompt_lengths, lengths = (np.array([len(ids) for ids in segments]) for segments in (prompts, responses))
    first_R, before_R = prompt_lengths.sum() + starts(lengths), prompt_lengths[prompt_R]
    within_T = np.arange(lengths.max())[None]
    mask = within_T < lengths[:, None]
    within = first_R[:, None] + within_T
    predictor = np.where(within_T == 0, (starts(prompt_lengths)[prompt_R] + before_R - 1)[:, None], within - 1)
    place = np.stack([mask, np.zeros_like(within), within * mask, predictor * mask])
    counted = [*map(np.arange, prompt_lengths), *(np.arange(b, b + n) for b, n in zip(before_R, lengths, strict=True))]
    return _Laid(
        np.concatenate([*prompts, *responses], dtype=np.int64)[None],
        np.concatenate(counted)[None],
        np.zeros((1, 1, 1, 1), dtype=np.int64),
        place.reshape(4, len(examples), num_responses, -1),
        starts(prompt_lengths)[prompt_B],
        (prompt_lengths, lengths, prompt_R),
    )


def _padded_rows(examples: Sequence[Example], shared: bool, pad_id: int) -> _Laid:
    """A row for each example, or for each response."""
    num_responses = len(examples[0].responses)
    rows = [segments for e in examples for segments in _rows(e, shared)]
    lengths = [sum(map(len, row)) for row in rows]
    longest = max(len(r) for e in examples for r in e.responses)
    ids_XL = np.full((len(rows), max(lengths)), pad_id, dtype=np.int64)
    positions_XL = np.zeros_like(ids_XL)
    segment_XL = np.full_like(ids_XL, -1)
    place = np.zeros((4, len(examples), num_responses, longest), dtype=np.int64)
    for x, row in enumerate(rows):
        start, num_prompt = 0, len(row[0])
        for s, tokens in enumerate(row):
            stop, first = start + len(tokens), 0 if s == 0 else num_prompt
            ids_XL[x, start:stop] = tokens
            positions_XL[x, start:stop] = np.arange(first, first + len(tokens))
            segment_XL[x, start:stop] = s
            if s > 0:
                b, r = (x, s - 1) if shared else divmod(x, num_responses)
                here = np.arange(start, stop)
                before = here - 1
                before[0] = num_prompt - 1
                place[:, b, r, : len(tokens)] = np.ones_like(here), np.full_like(here, x), here, before
            start = stop
    return _Laid(ids_XL, positions_XL, segment_XL, place, np.zeros(len(examples), dtype=np.int64))


def _prompt_places(prompt_mask_BP: ndarray, laid: _Laid) -> ndarray:
    """[4, B, P] mask, row, place, predictor of the prompt tokens but the first."""
    within_P = np.arange(prompt_mask_BP.shape[1])
    row_BP = np.broadcast_to(laid.place[1, :, 0, :1], prompt_mask_BP.shape)
    place_BP = laid.prompt_B[:, None] + within_P
    return np.stack([prompt_mask_BP & (within_P > 0), row_BP, place_BP, place_BP - 1])


def _packed(ids_XL: ndarray, place: ndarray, device: torch.device | str) -> Packed:
    """The tokens of a table of (mask, row, place, predictor), each [B, R, T] or [B, T]."""
    mask, row, within, predictor = place
    is_token = mask.astype(bool)
    slot = np.where(is_token, mask.cumsum().reshape(mask.shape) - 1, mask.sum())
    ids_N = ids_XL[row[is_token], within[is_token]]
    predictor_N = (row * ids_XL.shape[1] + predictor)[is_token]
    return Packed(*(torch.from_numpy(array).to(device) for array in (ids_N, predictor_N, slot)))


def _rows(example: Example, shared: bool) -> list[list[ndarray]]:
    """Input rows of one example as lists of segments, the prompt first."""
    if shared:
        return [[example.prompt, *example.responses]]
    return [[example.prompt, response] for response in example.responses]


def _shared_attention(segment_XL: Tensor) -> Tensor:
    """[X, 1, L, L] bool: causal, to the prompt and the own response only; padding sees padding, so no row is empty."""
    num_places = segment_XL.shape[1]
    causal_LL = torch.ones(num_places, num_places, dtype=torch.bool, device=segment_XL.device).tril()
    own_XLL = segment_XL[:, :, None] == segment_XL[:, None, :]
    prompt_X1L = segment_XL[:, None, :] == 0
    return (causal_LL & (own_XLL | prompt_X1L))[:, None]
