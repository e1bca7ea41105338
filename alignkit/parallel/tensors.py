"""Tensors whose numbers lie in several processes: norms, whole copies, and back. Others pass as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeGuard

from alignkit.lazy import distributed_tensor as distributed
from alignkit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributed.tensor import DTensor


def is_spread(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether this process holds a piece of it only."""
    # What is no subclass of a tensor cannot be one, and torch.distributed need not be there.
    return type(tensor) not in (torch.Tensor, torch.nn.Parameter) and isinstance(tensor, distributed.DTensor)


def device_of(tensor: Tensor) -> torch.device:
    """Where it is computed with; pieces that are kept on the CPU are computed with elsewhere."""
    if is_spread(tensor):
        kind = tensor.device_mesh.device_type
        return torch.device("cpu") if kind == "cpu" else torch.device(kind, torch.accelerator.current_device_index())
    return tensor.device


def piece(tensor: Tensor) -> Tensor:
    """What this process holds of it, without gradient; the same memory."""
    return tensor.to_local().detach() if is_spread(tensor) else tensor.detach()


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Scalar; the Euclidean norm of all floating-point numbers in all of them, the same in each process.

    Of tensors that are not spread each process must hold the same, or they count as often as they are held.
    """
    tensors = [tensor for tensor in tensors if tensor.is_floating_point()]
    norm = torch.nn.utils.get_total_norm([piece(tensor) for tensor in tensors])
    spread = next(filter(is_spread, tensors), None)
    if spread is None:
        return norm
    squared = norm.to(device_of(spread)).square()
    torch.distributed.all_reduce(squared, group=spread.device_mesh.get_group("shard"))
    return squared.sqrt()


def clip_grad_norm(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scales the gradients of spread parameters so that their total norm is at most `max_norm`; gives what it was."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = total_norm(gradients)
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_
    for gradient in map(piece, gradients):
        gradient.mul_(factor.to(gradient.device))
    return norm


def gathered(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Whole copies on the CPU of what is spread, one after the other; every process takes part.

    Args:
        tensors: the same names in each process.
        keep: whether this process wants them; the others get none.
    """
    found = {}
    for name, tensor in tensors.items():
        whole = _whole(tensor) if is_spread(tensor) else tensor
        if keep:
            found[name] = whole.detach()
    return found


def _whole(tensor: DTensor) -> Tensor:
    sent = torch.int32 if tensor.dtype == torch.int16 else tensor.dtype  # no backend sends int16
    on_device: DTensor = tensor.to(tensor.device_mesh.device_type, sent)  # type: ignore[assignment]
    whole: Tensor = on_device.full_tensor()
    return whole.to("cpu", tensor.dtype)


def like(tensor: Tensor, whole: Tensor) -> Tensor:
    """`whole` cut as `tensor` is; each process takes its piece of what it holds, and nothing is sent."""
    if not is_spread(tensor):
        return whole
    mesh = tensor.device_mesh
    return distributed.distribute_tensor(whole.to(mesh.device_type), mesh, tensor.placements, src_data_rank=None).to(
        tensor.device
    )


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor that holds a NaN or an infinity in any process; every process takes part."""
    names = [name for name, tensor in tensors.items() if not bool(piece(tensor).isfinite().all())]
    if not any(map(is_spread, tensors.values())):
        return names[0] if names else None
    found: list[list[str] | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, names)
    anywhere = {name for part in found for name in part or ()}
    return next((name for name in tensors if name in anywhere), None)
