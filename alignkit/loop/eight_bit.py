"""AdamW whose moments are held in 8 bits (arXiv:2110.02861), by the package bitsandbytes."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from alignkit.lazy import bitsandbytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn
    from torch.optim import Optimizer

NEEDED = "needs the package bitsandbytes: pip install 'alignkit[quant]'"


def is_installed() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec("bitsandbytes") is not None


def adamw_8bit(
    parameters: Sequence[nn.Parameter], *, lr: float, betas: tuple[float, float], weight_decay: float
) -> Optimizer:
    """The optimizer: a byte for each moment and a scale for 256 of them; float32 for tensors below 4,096 numbers."""
    optimizer: Optimizer = bitsandbytes.optim.AdamW8bit(parameters, lr=lr, betas=betas, weight_decay=weight_decay)
    return optimizer
