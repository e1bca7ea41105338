"""What a model keeps of the responses that it decodes, in memory that is taken once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignkit.lazy import torch, transformers

if TYPE_CHECKING:
    from torch import Tensor


class Room(transformers.cache_utils.DynamicLayer):
    """Keys and values of one layer in memory for all tokens that may come.

    Args:
        like: a layer of the same model, which has read something.
        num_rows: responses.
        num_read: places that prompts take.
        num_places: places in all.
    """

    def __init__(self, like: Any, num_rows: int, num_read: int, num_places: int) -> None:  # noqa: ANN401
        super().__init__()  # type: ignore[no-untyped-call]
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


def is_plain(cache: Any) -> bool:  # noqa: ANN401
    """Whether it keeps keys and values of all places and nothing else, so that rows can be moved about."""
    layer = transformers.cache_utils.DynamicLayer
    return type(cache) is transformers.DynamicCache and all(
        type(one) is layer and one.is_initialized for one in cache.layers
    )


@dataclass
class Rows:
    """The responses that are being decoded.

    Attributes:
        cache: what the model keeps of them.
        mask_NL: [N, L] int64; which places of prompt and response are tokens, those to come included.
        position_N1: [N, 1] int64; of the next token.
        uniform_NT: [N, T] what each token is drawn with.
        length: places that are taken, padding included.
    """

    cache: Any
    mask_NL: Tensor
    position_N1: Tensor
    uniform_NT: Tensor
    length: int

    @property
    def rooms(self) -> list[Room]:
        """The layers; none where the model keeps what it has read in a form of its own."""
        layers = getattr(self.cache, "layers", [])
        return [layer for layer in layers if isinstance(layer, Room)]

    def drop(self, ended: Sequence[bool]) -> Tensor:
        """[M] which rows go on, in their new order: the last ones move into the places of those that have ended."""
        alive = [n for n, has_ended in enumerate(ended) if not has_ended]
        number = len(alive)
        to = [n for n, has_ended in enumerate(ended[:number]) if has_ended]
        order = list(range(number))
        for place, source in zip(to, alive[number - len(to) :], strict=True):
            order[place] = source
        order_M, to_K = (torch.tensor(places, dtype=torch.int64, device=self.mask_NL.device) for places in (order, to))
        for room in self.rooms:
            room.keep(number, order_M[to_K], to_K)
        if not self.rooms:
            self.cache.reorder_cache(order_M)
        self.mask_NL, self.position_N1, self.uniform_NT = (
            kept[order_M] for kept in (self.mask_NL, self.position_N1, self.uniform_NT)
        )
        return order_M
