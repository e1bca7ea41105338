"""The optimizer, its state as named tensors, and whether they are finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from alignkit.errors import CheckpointError
from alignkit.lazy import torch
from alignkit.loop.config import TrainingConfig
from alignkit.loop.eight_bit import adamw_8bit
from alignkit.loop.low_precision import SplitAdamW
from alignkit.parallel.tensors import first_not_finite, like, piece, total_norm

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name; tied ones once."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def make_optimizer(parameters: Mapping[str, nn.Parameter], config: TrainingConfig) -> Optimizer:
    """AdamW or RMSprop over all of `parameters`; the loop sets the learning rate of each step."""
    assert config.learning_rate is not None, "the caller resolves the default learning rate"
    values = list(parameters.values())
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(values, lr=config.learning_rate)
    settings: dict[str, Any] = {"lr": config.learning_rate, "betas": config.betas, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw_8bit":
        return adamw_8bit(values, **settings)
    if config.parameters == "bf16":
        return SplitAdamW(values, **settings)
    # One pass over parameters, gradients and moments instead of one for each operation, and no copies of them.
    fused = all(value.device.type in ("cpu", "cuda") for value in values)
    return torch.optim.AdamW(values, fused=fused or None, **settings)


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor that holds a NaN or an infinity; costs about as much as clipping the gradient."""
    with torch.no_grad():
        if math.isfinite(float(total_norm(tensors.values()))):
            return None
        # Finite values beyond 1e19 have an infinite norm, so only a look at each of them can tell.
        return first_not_finite(tensors)


def optimizer_tensors(optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Everything the optimizer remembers, as `parameter name/quantity` (`head.weight/exp_avg`)."""
    return {
        f"{name}/{quantity}": torch.as_tensor(value)
        for name, parameter in parameters.items()
        for quantity, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    optimizer: Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor], where: object
) -> None:
    """Puts `optimizer_tensors` back.

    Raises:
        CheckpointError: they are of other parameters.
    """
    index = {name: number for number, name in enumerate(parameters)}
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        name, _, quantity = key.rpartition("/")
        if name not in index:
            raise CheckpointError(f"{where}: its optimizer remembers '{name}', which is not trained; start a new run")
        if tensor.dtype == torch.int64:  # bitsandbytes counts its steps in Python
            value: Tensor | int | float = tensor.item()
        else:
            is_shaped = tensor.shape == parameters[name].shape
            value = like(parameters[name], tensor) if is_shaped else tensor
        state.setdefault(index[name], {})[quantity] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def load_parameters(parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor], where: object) -> None:
    """Copies saved values into the trained parameters.

    Raises:
        CheckpointError: names or shapes differ, so the checkpoint is of another model.
    """
    mine = {name: list(parameter.shape) for name, parameter in parameters.items()}
    theirs = {name: list(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            raise CheckpointError(
                f"{where}: made with another model: parameter '{name}' has shape {theirs.get(name, 'none')} there "
                f"and {mine.get(name, 'none')} here; give the same model, or start a new run"
            )
    with torch.no_grad():
        for name, parameter in parameters.items():
            piece(parameter).copy_(piece(like(parameter, tensors[name])))
