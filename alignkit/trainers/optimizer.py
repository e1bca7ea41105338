"""The optimizer, its learning rate at each step, and its state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from alignkit.errors import CheckpointError
from alignkit.lazy import torch, transformers
from alignkit.trainers.config import TrainingConfig

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
    return torch.optim.AdamW(values, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay)


def learning_rate_factor(config: TrainingConfig, num_steps: int) -> Callable[[int], float]:
    """step (from 0) -> factor of the peak learning rate; transformers' schedules, so the first warm-up step has 0.

    A function of the step alone: unlike a scheduler object it has no state that a resume could get wrong.
    """
    name = "constant_with_warmup" if config.schedule == "constant" else config.schedule
    stand_in = torch.optim.SGD([torch.zeros(1)], lr=1.0)  # transformers gives schedules bound to an optimizer only
    scheduler = transformers.get_scheduler(name, stand_in, math.ceil(config.warmup * num_steps), num_steps)
    factor: Callable[[int], float] = scheduler.lr_lambdas[0]
    return factor


def optimizer_tensors(optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Everything the optimizer remembers, as `parameter name/quantity` (`head.weight/exp_avg`)."""
    state = optimizer.state_dict()["state"]
    return {
        f"{name}/{quantity}": tensor
        for index, name in enumerate(parameters)
        for quantity, tensor in state.get(index, {}).items()
    }


def load_optimizer_tensors(
    optimizer: Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Puts `optimizer_tensors` back."""
    index = {name: number for number, name in enumerate(parameters)}
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, quantity = key.rpartition("/")
        state.setdefault(index[name], {})[quantity] = tensor
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
            parameter.copy_(tensors[name])
