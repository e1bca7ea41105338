"""A module cut into pieces with PyTorch's `fully_shard`: each layer is a unit that is whole only while it computes.

The rest of the module (embeddings, last norm, LM head) is one more unit, whole from the beginning of a forward pass to
the end of the backward pass, because what follows the decoder reads the head's weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from alignkit.errors import ModelError
from alignkit.lazy import checkpoint_state, device_mesh, fsdp, torch
from alignkit.parallel.config import ParallelConfig

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributed.fsdp import FSDPModule

ModelState: TypeAlias = "dict[str, Tensor] | None"
"""Name of a parameter or buffer -> value, whole, on the CPU; None of a module that each process holds whole."""


def shard(
    module: nn.Module, layers: Sequence[nn.Module], config: ParallelConfig, device: torch.device, *, bf16: bool
) -> None:
    """Cuts `module`, which every process holds whole, into pieces in place.

    Args:
        module: called as a whole; every process must call it, or what is in it, equally often and in the same order.
        layers: the parts of it that are whole one at a time.
        config: how many pieces.
        device: what it computes on.
        bf16: compute with bf16 copies of the pieces; sums of gradients stay float32.

    Raises:
        ModelError: its parameters cannot be cut.
    """
    processes = torch.distributed.get_world_size()
    sizes = {"replicate": config.replicate} if config.replicate > 1 else {}
    sizes["shard"] = config.shard or processes // config.replicate
    mesh = device_mesh.init_device_mesh(device.type, tuple(sizes.values()), mesh_dim_names=tuple(sizes))
    precision = fsdp.MixedPrecisionPolicy(torch.bfloat16 if bf16 else None, torch.float32)
    offload = fsdp.CPUOffloadPolicy(pin_memory=device.type != "cpu") if config.offload else fsdp.OffloadPolicy()
    _insist(module, layers)
    try:
        for unit in (*layers, module):
            fsdp.fully_shard(unit, mesh=mesh, mp_policy=precision, offload_policy=offload)
        # The first call of a unit would make it a root of its own, and sampling calls units past the module.
        fsdp.fully_shard.state(module)._lazy_init()  # type: ignore[attr-defined]
    except (ValueError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"parallel.strategy: this model cannot be cut: {reason}; use ddp") from None
    for part in module.modules():  # else generate() has all processes decode equally long, and waits for them
        part._is_fsdp_managed_module = False  # type: ignore[assignment]
    _settle(module)


def _insist(module: nn.Module, layers: Sequence[nn.Module]) -> None:
    if not layers:
        raise ModelError("parallel.strategy: 'fsdp' finds no layers in this model; use ddp")
    packed = next((name for name, one in module.named_parameters() if not one.is_floating_point()), None)
    if packed is not None:
        raise ModelError(f"parallel.strategy: 'fsdp' cannot cut quantized weights ({packed}); use ddp")


def units(module: nn.Module) -> list[FSDPModule]:
    """The units of a module, itself first; none of one that is not cut."""
    return [one for one in module.modules() if is_sharded(one)] if is_sharded(module) else []  # type: ignore[misc]


def is_sharded(module: nn.Module) -> bool:
    """Whether a module is a unit, such as one that `shard` was called with."""
    # Nobody has to load what cuts modules to see that one is not.
    return hasattr(module, "set_reshard_after_forward")


def _settle(module: nn.Module) -> None:
    """When units are cut again: layers after each pass, the rest after the backward pass.

    The rest of a frozen module stays whole, as its head is read after its own backward pass, by another module.
    """
    trains = any(parameter.requires_grad for parameter in module.parameters())
    root, *_ = parts = units(module)
    for unit in parts:
        is_rest = unit is root
        unit.set_reshard_after_forward(not is_rest, recurse=False)
        unit.set_reshard_after_backward(trains or not is_rest, recurse=False)


def reshard(module: nn.Module) -> None:
    """Cuts all units now; what `named_parameters` gives then are the pieces, which the optimizer moves."""
    for unit in units(module):
        unit.reshard()


@contextmanager
def whole(modules: Iterable[nn.Module]) -> Iterator[None]:
    """The modules whole in each process as long as it is entered, in the precision they compute in.

    Inside, processes may call them differently often, or not at all. Entered by all of them together; entered again
    inside, it does nothing.
    """
    with ExitStack() as stack:
        for module in dict.fromkeys(modules):
            stack.enter_context(_whole(module))
        yield


@contextmanager
def _whole(module: nn.Module) -> Iterator[None]:
    parts = units(module)
    if not parts or getattr(module, "_is_whole", False):
        yield
        return
    reshard(module)  # what is whole already may be older than the optimizer's last step
    for unit in parts:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.set_reshard_after_backward(False, recurse=False)
        unit.unshard()
    module._is_whole = True  # type: ignore[assignment]
    try:
        yield
    finally:
        module._is_whole = False  # type: ignore[assignment]
        reshard(module)
        _settle(module)


def full_state(module: nn.Module, *, trained_only: bool) -> ModelState:
    """All parameters and buffers of a module by name, whole, on the CPU of the main process; every process takes part.

    Args:
        module: cut or not.
        trained_only: leave frozen parameters out.

    Returns:
        None for a module that is not cut, which can be saved as it is; nothing in other processes than the main one.
    """
    if not is_sharded(module):
        return None
    reshard(module)
    options = checkpoint_state.StateDictOptions(
        full_state_dict=True, cpu_offload=True, ignore_frozen_params=trained_only
    )
    found: dict[str, Any] = checkpoint_state.get_model_state_dict(module, options=options)
    # Tied parameters share memory again: a model is saved with one of them.
    first: dict[int, Any] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if name in found:
            found[name] = first.setdefault(id(parameter), found[name])
    return found
