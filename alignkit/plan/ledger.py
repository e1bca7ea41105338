"""An account of tensors: which bytes live at each moment, and what the operations have to do.

It works where tensors hold no numbers (a plan) and where they do (a measurement), so that like is compared with like.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alignkit.lazy import dispatching, flops, pytree, torch

if TYPE_CHECKING:
    from torch import Tensor

_leaves, _Tensor = pytree.tree_leaves, torch.Tensor
"""Bound once: a lazy module is asked anew at each use, and an operation uses them often."""


@dataclass
class Stage:
    """A part of a run.

    Attributes:
        name: in words.
        peak: most bytes that lived at once.
        parts: what they were, kind -> bytes.
        flops: floating-point operations of matrix products and attention, each time.
        moved: bytes that all operations read and write, each time.
        calls: operations, each time.
        times: how often a run goes through it.
        share: what a typical time has to compute and move, as a share of this one's.
    """

    name: str
    times: float = 0
    share: float = 1
    peak: int = 0
    parts: dict[str, int] = field(default_factory=dict)
    flops: int = 0
    moved: int = 0
    calls: int = 0


class Ledger(dispatching.TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation while it is entered.

    Bytes are those of storages, as asked for: what an allocator adds, and what a kernel allocates and frees within one
    operation, is not among them.

    Args:
        vocabulary: tensors with as many columns are logits, or come from them; None tells none apart.
    """

    def __init__(self, vocabulary: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stage = Stage("")
        self.stages: list[Stage] = []
        self._vocabulary = vocabulary
        self._living: dict[int, tuple[int, str]] = {}
        self._parts: Counter[str] = Counter()
        self._now = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Runs an operation and accounts for it."""
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        given = [one for one in _leaves((args, kwargs)) if isinstance(one, _Tensor)]
        made = [one for one in _leaves(found) if isinstance(one, _Tensor)]
        self.stage.calls += 1
        if (count := _FORMULAS.get(func._overloadpacket)) is not None:
            self.stage.flops += count(*args, **kwargs, out_val=found)
        # A view does nothing but take the time of a call.
        if func._schema.is_mutable or any(one.untyped_storage()._cdata not in self._living for one in made):
            self.stage.moved += sum(one.numel() * one.element_size() for one in (*given, *made))
        self.see(given)
        self.see(made)
        return found

    def see(self, tensors: Iterable[Tensor], kind: str | None = None) -> None:
        """Accounts for tensors that may be older than this, and says of what kind they are."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            known = self._living.get(key)
            if known is None:
                self._enter(key, storage, kind or self._kind(tensor))
            elif kind is not None and known[1] != kind:
                self._parts[known[1]] -= known[0]
                self._parts[kind] += known[0]
                self._living[key] = (known[0], kind)

    @contextmanager
    def measuring(self, name: str, times: float = 0, share: float = 1) -> Iterator[Stage]:
        """A stage of its own; its peak begins with what lives already. One that an error ends is not kept.

        Args:
            name: in words.
            times: how often a run goes through it; 0 for one that is looked at for its memory alone.
            share: as in `Stage`.
        """
        before, self.stage = self.stage, Stage(name, times, share)
        self._mark()
        try:
            yield self.stage
            self.stages.append(self.stage)
        finally:
            self.stage = before

    def _enter(self, key: int, storage: torch.UntypedStorage, kind: str) -> None:
        size = storage.nbytes()
        self._living[key] = (size, kind)
        self._parts[kind] += size
        self._now += size
        weakref.finalize(storage, self._leave, key)
        if self._now > self.stage.peak:
            self._mark()

    def _leave(self, key: int) -> None:
        size, kind = self._living.pop(key)
        self._parts[kind] -= size
        self._now -= size

    def _mark(self) -> None:
        self.stage.peak, self.stage.parts = self._now, {kind: size for kind, size in self._parts.items() if size}

    def _kind(self, tensor: Tensor) -> str:
        return "logits" if tensor.dim() > 1 and tensor.shape[-1] == self._vocabulary else "activations"


def _attention_on_cpu(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401
    return int(flops.sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


def _attention_on_cpu_back(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401
    return int(flops.sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


_FORMULAS = {
    **flops.flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_on_cpu,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_on_cpu_back,
}
"""torch's formulas, and those of the attention that it has for CPUs and no formula for."""
