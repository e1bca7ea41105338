"""Watches tensor operations as if the CPU were a device: where the host would wait for it, and float64 upon it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
WAITS = {  # the host needs a number, or how many numbers there are
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten._unique2,
    aten.unique_consecutive,
    aten.repeat_interleave,
}
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
COPIES = {torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu, torch.Tensor.__array__}
HOST_SIDE = ("/torch/optim/",)
"""Whose reads are of tensors that stay on the host: an optimizer's count of its steps."""


def place() -> str:
    """The way from the package to the operation, innermost last."""
    frames = [frame for frame in traceback.extract_stack() if "/tests/" not in frame.filename]
    ours = [f"{frame.filename.rpartition('/alignkit/')[2]}:{frame.lineno}" for frame in frames if is_ours(frame)]
    return " > ".join(ours[-3:])


def is_ours(frame: traceback.FrameSummary) -> bool:
    return "/alignkit/" in frame.filename and "/site-packages/" not in frame.filename


def is_host_side() -> bool:
    return any(part in frame.filename for frame in traceback.extract_stack() for part in HOST_SIDE)


class _Operations(TorchDispatchMode):
    def __init__(self, see: Callable[[Any, tuple[Any, ...], Any], None]) -> None:
        super().__init__()
        self.see = see

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.see(func.overloadpacket, args, out)
        return out


class _Calls(TorchFunctionMode):
    def __init__(self, see: Callable[[Any, tuple[Any, ...], Any], Any]) -> None:
        super().__init__()
        self.see = see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.see(func, args, func(*args, **(kwargs or {})))


class Reads:
    """Counts the waits between `start` and `stop`.

    Attributes:
        places: one line for each: what it was and where.
    """

    def __init__(self) -> None:
        self.places: list[str] = []
        self._modes = (_Calls(self._call), _Operations(self._operation))
        self._on_host: dict[int, torch.Tensor] = {}  # by address of their numbers; kept, so that none is used again

    def start(self) -> None:
        for mode in self._modes:
            mode.__enter__()

    def stop(self) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(None, None, None)

    def _call(self, func: Any, args: tuple[Any, ...], out: Any) -> Any:
        if func in COPIES and not self._is_on_host(args):
            self._note(func.__name__)
        if func is not torch.Tensor.cpu:
            return out
        copy = out.clone()  # where there is a device it is another tensor, and what is done with it waits for nobody
        self._keep(copy)
        return copy

    def _operation(self, packet: Any, args: tuple[Any, ...], out: Any) -> None:
        if self._is_on_host(args):
            self._keep(out)
        elif packet in WAITS or (packet in INDEXED and _has_mask(args[1])):
            self._note(str(packet))

    def _keep(self, out: Any) -> None:
        self._on_host |= {tensor.untyped_storage().data_ptr(): tensor for tensor in _tensors(out)}

    def _is_on_host(self, args: Any) -> bool:
        addresses = {tensor.untyped_storage().data_ptr() for tensor in _tensors(args)}
        return bool(addresses) and addresses <= self._on_host.keys()

    def _note(self, what: str) -> None:
        if not is_host_side():
            self.places.append(f"{what}: {place()}")


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _has_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


class Float64(_Operations):
    """Collects where an operation gives float64; those in `allowed` work on numbers that the host has read.

    Attributes:
        places: one line for each: the operation and where.
    """

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(self._look)
        self.places: list[str] = []
        self.allowed = allowed

    def _look(self, packet: Any, args: tuple[Any, ...], out: Any) -> None:
        if any(tensor.dtype == torch.float64 for tensor in _tensors(out)):
            where = place()
            if not any(name in where for name in self.allowed):
                self.places.append(f"{packet}: {where}")
