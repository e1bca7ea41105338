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
from alignkit.models.room import Room, Rows, is_plain

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor
    from transformers import Cache, PreTrainedModel

Sampled = tuple["ndarray", "ndarray"]
"""[T] int32 token ids of a response, and their [T] float32 log-probs, nats."""

READ_TOGETHER = 8_192
"""Most tokens, padding included, that are read in one forward pass."""

DRAWN_TOGETHER = 2**20
"""Most probabilities that exist at once: what is larger than a few megabytes the host's memory allocator asks for anew
each time, which takes five times as long as the draw."""

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
    number = max(1, DRAWN_TOGETHER // logits_NV.shape[-1])
    parts = zip(logits_NV.split(number), uniform_N.split(number), strict=True)  # type: ignore[no-untyped-call]
    tokens, logps = zip(*(_drawn(draw, *part) for part in parts), strict=True)
    return torch.cat(tokens), torch.cat(logps)


def _drawn(draw: Draw, logits_NV: Tensor, uniform_N: Tensor) -> tuple[Tensor, Tensor]:
    probability_NV = draw.probabilities(logits_NV)
    token_N = draw.among(probability_NV, uniform_N) if draw.top_k is None else draw(logits_NV, uniform_N)
    return token_N, probability_NV.gather(-1, token_N[:, None]).squeeze(-1).log()


def is_broken(logits_NV: Tensor) -> Tensor:
    """Whether a logit is NaN or infinite; a scalar on the device."""
    return ~(logits_NV.amax(-1) < torch.inf).all()  # of NaN too, which no comparison holds for


BROKEN = "the model's logits are NaN or infinite while it samples"


def of_like_lengths(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where runs of rows start and stop that are read together with little padding; `lengths` ascend."""
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
        rows, logits_BV = self.begin(prompts, owners, seeds)
        ids_BT, logp_BT = self._tokens(rows, logits_BV)
        found = zip(ids_BT.cpu().numpy().astype(np.int32), logp_BT.cpu().numpy(), strict=True)
        return [(ids_T[:end], logp_T[:end]) for ids_T, logp_T in found for end in [end_of(ids_T, self.eos_id)]]

    def begin(self, prompts: Sequence[ndarray], owners: Sequence[int], seeds: Sequence[int]) -> tuple[Rows, Tensor]:
        """The rows after their prompts, and [B, V] the logits there; arguments as those of `run`."""
        device, num_read = self.model.device, len(prompts[-1])
        cache, logits_PV = self._read(prompts, owners)
        owner_B = torch.tensor(owners, device=device)
        length_B1 = torch.tensor([[len(prompts[p])] for p in owners], device=device)
        mask_BL = (torch.arange(num_read + self.max_new_tokens, device=device) >= num_read - length_B1).long()
        uniform_BT = torch.from_numpy(uniforms(seeds, self.max_new_tokens)).to(device)
        return Rows(cache, mask_BL, length_B1, uniform_BT, num_read), logits_PV[owner_B]

    def step(self, rows: Rows, ids_NM: Tensor) -> Tensor:
        """[N, V] logits after more tokens of each row."""
        number = ids_NM.shape[1]
        rows.length += number
        positions_NM = rows.position_N1 + torch.arange(number, device=ids_NM.device)
        output = self._forward(ids_NM, rows.mask_NL[:, : rows.length], positions_NM, rows.cache)
        rows.position_N1 = rows.position_N1 + number
        logits_NV: Tensor = output.logits[:, -1]
        return logits_NV

    def _read(self, prompts: Sequence[ndarray], owners: Sequence[int]) -> tuple[Cache, Tensor]:
        """What the model keeps of each response's prompt, and [P, V] its logits after each prompt."""
        counts, num_read = np.bincount(owners, minlength=len(prompts)), len(prompts[-1])
        rooms: list[Room] = []
        logits, stop_row = [], 0
        for start, stop in of_like_lengths([len(prompt) for prompt in prompts]):
            output = self._forward_prompts(prompts[start:stop])
            cache: Any = output.past_key_values
            if not is_plain(cache):
                return self._read_as_one(prompts, owners)
            sizes = (len(owners), num_read, num_read + self.max_new_tokens)
            rooms = rooms or [Room(layer, *sizes) for layer in cache.layers]
            start_row, stop_row = stop_row, stop_row + int(counts[start:stop].sum())
            owner_N = torch.tensor(owners[start_row:stop_row], device=self.model.device) - start
            for room, layer in zip(rooms, cache.layers, strict=True):
                room.take(layer, start_row, owner_N)
            logits.append(output.logits[:, -1])
        cache.layers = rooms
        return cache, torch.cat(logits)

    def _read_as_one(self, prompts: Sequence[ndarray], owners: Sequence[int]) -> tuple[Cache, Tensor]:
        """The same where the model keeps it in a form of its own, in which rows can be reordered only."""
        output = self._forward_prompts(prompts)
        output.past_key_values.reorder_cache(torch.tensor(owners, device=self.model.device))
        return output.past_key_values, output.logits[:, -1]

    def _forward_prompts(self, prompts: Sequence[ndarray]) -> Any:  # noqa: ANN401
        ids_PL, mask_PL = (torch.from_numpy(array).to(self.model.device) for array in padded(prompts, self.eos_id))
        return self._forward(ids_PL, mask_PL, (mask_PL.cumsum(-1) - 1).clamp(min=0), None)

    def _tokens(self, rows: Rows, logits_NV: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T] tokens and log-probs, drawn until every row has ended; behind a row's end they mean nothing."""
        row_N, device = torch.arange(len(logits_NV), device=logits_NV.device), logits_NV.device
        ended_N, broken = torch.zeros_like(row_N, dtype=torch.bool), torch.zeros((), dtype=torch.bool, device=device)
        ids_BT = row_N.new_full((len(row_N), self.max_new_tokens), self.eos_id)
        logp_BT = torch.zeros(ids_BT.shape, device=device)
        per_look = 1 if device.type == "cpu" else TOKENS_PER_LOOK
        for t in range(self.max_new_tokens):
            broken = broken | is_broken(logits_NV)
            if self.with_logps or self.draw.top_k is None:
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
            logits_NV = self.step(rows, token_N[:, None])
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
