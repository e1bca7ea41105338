"""Counts what an optimizer step has to do: the same numbers on every machine, so that none grows unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from device_watch import Reads
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
PRODUCTS = {aten.mm: 0, aten.bmm: 0, aten.addmm: 1, aten.baddbmm: 1}
"""Matrix product -> place of its first factor."""


@dataclass
class Work:
    """What was done.

    Attributes:
        passes: runs of the decoder with gradient.
        tokens: that went into them, padding included.
        free_passes: runs of the decoder without gradient: decoding, the reference.
        free_tokens: that went into them.
        head_rows: rows of the head, counted once for each of its products: forward, by the hidden states, by the
            weights, and each of them again where it is computed again.
        backwards: backward passes, those for attributions included.
        drawn: tokens drawn, those that are thrown away included.
        reads: times that the host waits for the device.
        largest: bytes of the largest tensor.
    """

    passes: int = 0
    tokens: int = 0
    free_passes: int = 0
    free_tokens: int = 0
    head_rows: int = 0
    backwards: int = 0
    drawn: int = 0
    reads: int = 0
    largest: int = 0


@dataclass
class Watch(TorchDispatchMode):
    """Counts between `start` and `stop`.

    Attributes:
        model: whose decoder and head are watched; no other size of a tensor may be that of its vocabulary.
        work: what was counted.
    """

    model: Any
    work: Work = field(default_factory=Work)

    def __post_init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._reads = Reads()
        self._head = self.model.get_output_embeddings().weight.shape

    def __hash__(self) -> int:
        return id(self)

    def start(self) -> None:
        stack = self._stack
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        engine = "_engine_run_backward"  # what `grad` and `backward` both come to
        patch.setattr(torch.autograd, engine, self._counted(getattr(torch.autograd, engine)))
        stack.enter_context(self._hook())
        stack.enter_context(self)
        self._reads.start()
        stack.callback(self._reads.stop)

    def stop(self) -> Work:
        self._stack.close()
        self.work.reads = len(self._reads.places)
        return self.work

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._product(func.overloadpacket, args)
        # A draw is a look-up in a cumulative distribution of whole numbers; ranks are looked up among floats.
        if func.overloadpacket is aten.searchsorted and args[0].dtype == torch.int64:
            self.work.drawn += out.numel()
        sizes = [one.untyped_storage().nbytes() for one in tree_leaves(out) if isinstance(one, torch.Tensor)]
        self.work.largest = max([self.work.largest, *sizes])
        return out

    def _product(self, packet: Any, args: tuple[Any, ...]) -> None:
        if packet not in PRODUCTS:
            return
        first, second = args[PRODUCTS[packet] :][:2]
        sizes = (*first.shape, second.shape[-1])
        if self._head[0] in sizes:
            self.work.head_rows += torch.Size(sizes).numel() // self._head.numel()

    @contextmanager
    def _hook(self) -> Iterator[None]:
        def see(module: Any, args: Any, kwargs: Any) -> None:
            given = next(one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor))
            tokens = given.shape[0] * given.shape[1]
            if torch.is_grad_enabled():
                self.work.passes, self.work.tokens = self.work.passes + 1, self.work.tokens + tokens
            else:
                self.work.free_passes += 1
                self.work.free_tokens += tokens

        handle = self.model.get_decoder().register_forward_pre_hook(see, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def _counted(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **options: Any) -> Any:
            self.work.backwards += 1
            return run(*args, **options)

        return counting
