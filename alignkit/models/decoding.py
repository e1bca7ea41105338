"""The decoding loop: many responses at once, token by token, each with randomness of its own.

A prompt is read once for all of its responses, and prompts of like lengths are read together. Keys and values lie in
memory that is taken once, where the last rows move into the places of those that have ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any

from alignkit.errors import NonFiniteError
from alignkit.lazy import numpy as np
from alignkit.lazy import torch, transformers
from alignkit.models.head import Draw

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor
    from transformers import Cache, PreTrainedModel

Sampled = tuple["ndarray", "ndarray"]
"""[T] int32 token ids of a response, and their [T] float32 log-probs, nats."""

READ_TOGETHER = 16_384
"""Most tokens of prompts, padding included, that are read in one forward pass."""

TOKENS_PER_LOOK = 8
"""On an accelerator, tokens between two looks at which rows have ended; each look waits for the device."""


@contextmanager
def as_decoder(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """The model as decoding needs it, as it was again afterwards.

    In evaluation mode, because a layer that recomputes activations in training mode drops the cache and would see one
    token; without the model's own generation settings, because generate() adds those (a repetition penalty, say) to
    what it is given, and the sample would not come from the model's distribution.
    """
    was_training, settings = model.training, model.generation_config
    model.eval()
    model.generation_config = transformers.GenerationConfig()
    try:
        yield model
    finally:
        model.train(was_training)
        model.generation_config = settings


def uniforms(seeds: Sequence[int], num_tokens: int) -> ndarray:
    """[B, num_tokens] float32 in [0, 1), multiples of 2**-24; row b depends on `seeds[b]` only, and a shorter table is
    its prefix."""
    table_BT = np.stack([np.random.default_rng(seed).random(num_tokens) for seed in seeds])
    return (np.floor(table_BT * 2**24) / 2**24).astype(np.float32)


def padded(prompts: Sequence[ndarray], pad_id: int) -> tuple[ndarray, ndarray]:
    """[B, P] ids and mask of prompts, padded on the left because decoding appends on the right."""
    ids_BP = np.full((len(prompts), max(map(len, prompts))), pad_id, dtype=np.int64)
    mask_BP = np.zeros_like(ids_BP)
    for row_P, mask_P, prompt in zip(ids_BP, mask_BP, prompts, strict=True):
        row_P[-len(prompt) :] = prompt
        mask_P[-len(prompt) :] = 1
    return ids_BP, mask_BP


def drawn(draw: Draw, logits_NV: Tensor, uniform_N: Tensor) -> tuple[Tensor, Tensor]:
    """[N] tokens, and their log-probs at the draw's temperature, before its top-k and top-p."""
    probability_NV = draw.probabilities(logits_NV)
    token_N = draw.among(probability_NV, uniform_N) if draw.top_k is None else draw(logits_NV, uniform_N)
    return token_N, probability_NV.gather(-1, token_N[:, None]).squeeze(-1).log()


def is_broken(logits_NV: Tensor) -> Tensor:
    """Whether a logit is NaN or infinite; a scalar on the device."""
    return ~(logits_NV.amax(-1) < torch.inf).all()  # of NaN too, which no comparison holds for


BROKEN = "the model's logits are NaN or infinite while it samples"


class Room(transformers.cache_utils.DynamicLayer):
    """Keys and values of one layer in memory for all tokens that may come.

    Args:
        like: a layer of the same model, which has read something.
        num_rows: responses.
        num_read: places that prompts take.
        num_places: places in all.
    """

    def __init__(self, like: Any, num_rows: int, num_read: int, num_places: int) -> None:  # noqa: ANN401
        super().__init__()
        self.lazy_initialization(like.keys, like.values)
        self._length, self._num_rows = num_read, num_rows
        self._all_keys, self._all_values = (
            kept.new_zeros(num_rows, kept.shape[1], num_places, kept.shape[3]) for kept in (like.keys, like.values)
        )

    def take(self, layer: Any, start: int, owner_N: Tensor) -> None:  # noqa: ANN401
        """Copies what was read of some prompts to the rows from `start` on, each from its owner."""
        stop, first = start + len(owner_N), self._length - layer.keys.shape[2]
        self._all_keys[start:stop, :, first : self._length] = layer.keys[owner_N]
        self._all_values[start:stop, :, first : self._length] = layer.values[owner_N]

    def keep(self, number: int, from_M: Tensor, to_M: Tensor) -> None:
        """Goes on with the first `number` rows, after some of the others have moved into their places."""
        for kept in (self._all_keys[:, :, : self._length], self._all_values[:, :, : self._length]):
            kept[to_M] = kept[from_M]
        self._num_rows = number

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """Appends, and gives all keys and values so far."""
        start, self._length = self._length, self._length + key_states.shape[2]
        self._all_keys[: self._num_rows, :, start : self._length] = key_states
        self._all_values[: self._num_rows, :, start : self._length] = value_states
        self.keys, self.values = (
            kept[: self._num_rows, :, : self._length] for kept in (self._all_keys, self._all_values)
        )
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Places that are taken."""
        return self._length


def _is_plain(cache: Any) -> bool:  # noqa: ANN401
    """Whether it keeps keys and values of all places and nothing else, so that rows can be moved about."""
    layer = transformers.cache_utils.DynamicLayer
    return type(cache) is transformers.DynamicCache and all(
        type(one) is layer and one.is_initialized for one in cache.layers
    )


@dataclass
class _Rows:
    """The responses that are being decoded.

    Attributes:
        cache: what the model keeps of them.
        mask_NL: [N, L] int64; which places of prompt and response are tokens, those to come included.
        length_N: tokens of the prompt.
        uniform_NT: [N, T] what each token is drawn with.
    """

    cache: Any
    mask_NL: Tensor
    length_N: Tensor
    uniform_NT: Tensor

    def drop(self, ended: Sequence[bool]) -> Tensor:
        """[M] which rows go on, in their new order: the last ones move into the places of those that have ended."""
        alive = [n for n, has_ended in enumerate(ended) if not has_ended]
        number = len(alive)
        to = [n for n, has_ended in enumerate(ended[:number]) if has_ended]
        order = list(range(number))
        for place, source in zip(to, alive[number - len(to) :], strict=True):
            order[place] = source
        order_M, to_K = (torch.tensor(places, dtype=torch.int64, device=self.mask_NL.device) for places in (order, to))
        for layer in self.cache.layers if _has_room(self.cache) else ():
            layer.keep(number, order_M[to_K], to_K)
        if not _has_room(self.cache):
            self.cache.reorder_cache(order_M)
        self.mask_NL, self.length_N, self.uniform_NT = (
            kept[order_M] for kept in (self.mask_NL, self.length_N, self.uniform_NT)
        )
        return order_M


def _has_room(cache: Any) -> bool:  # noqa: ANN401
    return all(isinstance(layer, Room) for layer in getattr(cache, "layers", [None]))


def _alike(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where runs of prompts start and stop that are read together with little padding; `lengths` ascend."""
    start = tokens = 0
    for place, length in enumerate(lengths):
        places = (place - start + 1) * length
        if place > start and not (places <= READ_TOGETHER and places <= 1.1 * (tokens + length) + 256):
            yield start, place
            start, tokens = place, 0
        tokens += length
    yield start, len(lengths)


def end_of(ids_T: ndarray, eos_id: int) -> int:
    """Tokens of a response, its end token included."""
    ends = np.flatnonzero(ids_T == eos_id)
    return int(ends[0]) + 1 if len(ends) else len(ids_T)


@dataclass
class Decoding:
    """One batch of responses.

    Attributes:
        model: as `as_decoder` gives it.
        draw: temperature, top-k, top-p.
        eos_id: ends a response.
        max_new_tokens: longest response.
        with_logps: whether log-probs are asked for.
    """

    model: PreTrainedModel
    draw: Draw
    eos_id: int
    max_new_tokens: int
    with_logps: bool = True
    _takes: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._takes = frozenset(signature(self.model.forward).parameters)

    def run(self, prompts: Sequence[ndarray], owners: Sequence[int], seeds: Sequence[int]) -> list[Sampled]:
        """The responses; log-probs are 0 where they are not asked for.

        Args:
            prompts: token ids, shortest first.
            owners: for each response the place of its prompt, in ascending order; each prompt has one at least.
            seeds: for each response what it is drawn with.

        Raises:
            NonFiniteError: a logit is NaN or infinite.
        """
        device = self.model.device
        cache, logits_PV = self._read(prompts, owners)
        owner_B = torch.tensor(owners, device=device)
        num_read, num_places = len(prompts[-1]), len(prompts[-1]) + self.max_new_tokens
        length_B = torch.tensor([len(prompts[p]) for p in owners], device=device)
        mask_BL = (torch.arange(num_places, device=device) >= num_read - length_B[:, None]).long()
        uniform_BT = torch.from_numpy(uniforms(seeds, self.max_new_tokens)).to(device)
        rows = _Rows(cache, mask_BL, length_B, uniform_BT)
        ids_BT, logp_BT = self._tokens(rows, logits_PV[owner_B], num_read)
        found = zip(ids_BT.cpu().numpy().astype(np.int32), logp_BT.cpu().numpy(), strict=True)
        return [(ids_T[:end], logp_T[:end]) for ids_T, logp_T in found for end in [end_of(ids_T, self.eos_id)]]

    def _read(self, prompts: Sequence[ndarray], owners: Sequence[int]) -> tuple[Cache, Tensor]:
        """What the model keeps of each response's prompt, and [P, V] its logits after each prompt."""
        counts = np.bincount(owners, minlength=len(prompts))
        cache: Any = None
        logits, stop_row = [], 0
        for start, stop in _alike([len(prompt) for prompt in prompts]):
            output = self._forward_prompts(prompts[start:stop])
            if not _is_plain(output.past_key_values):
                return self._read_as_one(prompts, owners)
            if cache is None:
                cache, layers = output.past_key_values, output.past_key_values.layers
                num_read = len(prompts[-1])
                sizes = (len(owners), num_read, num_read + self.max_new_tokens)
                cache.layers = [Room(layer, *sizes) for layer in layers]
            else:
                layers = output.past_key_values.layers
            start_row, stop_row = stop_row, stop_row + int(counts[start:stop].sum())
            owner_N = torch.tensor(owners[start_row:stop_row], device=self.model.device) - start
            for room, layer in zip(cache.layers, layers, strict=True):
                room.take(layer, start_row, owner_N)
            logits.append(output.logits[:, -1])
        return cache, torch.cat(logits)

    def _read_as_one(self, prompts: Sequence[ndarray], owners: Sequence[int]) -> tuple[Cache, Tensor]:
        """The same with a cache that has a form of its own."""
        output = self._forward_prompts(prompts)
        output.past_key_values.reorder_cache(torch.tensor(owners, device=self.model.device))
        return output.past_key_values, output.logits[:, -1]

    def _forward_prompts(self, prompts: Sequence[ndarray]) -> Any:  # noqa: ANN401
        ids_PL, mask_PL = (torch.from_numpy(array).to(self.model.device) for array in padded(prompts, self.eos_id))
        return self._forward(ids_PL, mask_PL, (mask_PL.cumsum(-1) - 1).clamp(min=0), None)

    def _tokens(self, rows: _Rows, logits_NV: Tensor, num_read: int) -> tuple[Tensor, Tensor]:
        """[B, T] tokens and log-probs, drawn until every row has ended; behind a row's end they mean nothing."""
        row_N, device = torch.arange(len(logits_NV), device=logits_NV.device), logits_NV.device
        ended_N, broken = torch.zeros_like(row_N, dtype=torch.bool), torch.zeros((), dtype=torch.bool, device=device)
        ids_BT = row_N.new_full((len(row_N), self.max_new_tokens), self.eos_id)
        logp_BT = torch.zeros(ids_BT.shape, device=device)
        per_look = 1 if device.type == "cpu" else TOKENS_PER_LOOK
        for t in range(self.max_new_tokens):
            broken = broken | is_broken(logits_NV)
            if self.with_logps:
                token_N, logp_BT[row_N, t] = drawn(self.draw, logits_NV, rows.uniform_NT[:, t])
            else:
                token_N = self.draw(logits_NV, rows.uniform_NT[:, t])
            ids_BT[row_N, t] = token_N
            ended_N = ended_N | (token_N == self.eos_id)
            is_last = t + 1 == self.max_new_tokens
            if is_last or (t + 1) % per_look == 0:
                *ended, has_broken = torch.cat([ended_N, broken[None]]).tolist()
                if has_broken:
                    raise NonFiniteError(BROKEN)
                if is_last or all(ended):
                    break
                if any(ended):
                    order_M = rows.drop(ended)
                    row_N, token_N, ended_N = row_N[order_M], token_N[order_M], ended_N[order_M]
            logits_NV = self._forward(
                token_N[:, None], rows.mask_NL[:, : num_read + t + 1], rows.length_N[:, None] + t, rows.cache
            ).logits[:, -1]
        return ids_BT, logp_BT

    def _forward(self, ids_NL: Tensor, mask_NL: Tensor, positions_NL: Tensor, cache: Cache | None) -> Any:  # noqa: ANN401 -- each model has its own
        extra = {"position_ids": positions_NL, "logits_to_keep": 1}
        return self.model(
            input_ids=ids_NL,
            attention_mask=mask_NL,
            past_key_values=cache,
            use_cache=True,
            **{key: value for key, value in extra.items() if key in self._takes},
        )
