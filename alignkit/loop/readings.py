"""What the micro-batches of a step left on the device, brought to the host together.

Each read makes the host wait until the device has done all it was given, and the device then waits for the host's next
order; so there is one read, after the last backward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.finite import Requirement
from alignkit.lazy import torch
from alignkit.loop.step import Metrics

if TYPE_CHECKING:
    from torch import Tensor

ReadMetrics = Mapping[str, tuple[float, float]]
"""name -> (sum, count), on the host."""


@dataclass(frozen=True)
class MicroBatch:
    """What a micro-batch left on the device.

    Attributes:
        rows: its rows.
        loss: scalar, detached.
        metrics: of its rows.
        required: what must hold for the step to count.
    """

    rows: Sequence[TokenRow]
    loss: Tensor
    metrics: Metrics
    required: Sequence[Requirement]


@dataclass(frozen=True)
class Reading:
    """The same on the host.

    Attributes:
        rows: its rows.
        loss: its part of the objective.
        metrics: of its rows.
        broken: message of the first requirement that does not hold, or None.
    """

    rows: Sequence[TokenRow]
    loss: float
    metrics: ReadMetrics
    broken: str | None


def read_step(micro_batches: Sequence[MicroBatch], grad_norm: Tensor) -> tuple[list[Reading], float]:
    """The micro-batches and the gradient norm of an optimizer step, in one transfer."""
    norm, *numbers = read([grad_norm, *(value for one in micro_batches for value in _values(one))])
    rest = iter(numbers)
    return [
        Reading(
            rows=one.rows,
            loss=next(rest),
            broken=_first_broken([(required.message, next(rest)) for required in one.required]),
            metrics={name: (next(rest), next(rest)) for name in one.metrics},
        )
        for one in micro_batches
    ], norm


def _values(one: MicroBatch) -> list[Tensor | float]:
    """All numbers of a micro-batch, in the order in which `read_step` takes them."""
    holds = [required.holds for required in one.required]
    return [one.loss, *holds, *(value for pair in one.metrics.values() for value in pair)]


def _first_broken(answers: Sequence[tuple[str, float]]) -> str | None:
    return next((message for message, holds in answers if not holds), None)


def read(values: Sequence[Tensor | float]) -> list[float]:
    """The values as numbers of the host; all scalar tensors among them come from the device in one transfer."""
    tensors = [value.detach().reshape(1) for value in values if isinstance(value, torch.Tensor)]
    on_device = [tensor.device for tensor in tensors if tensor.device.type != "cpu"]
    if on_device:  # what lies on the host goes there first: that way nobody waits
        tensors = [tensor if tensor.device == on_device[0] else tensor.float().to(on_device[0]) for tensor in tensors]
    found = iter(torch.cat(tensors).tolist() if tensors else ())
    return [float(next(found) if isinstance(value, torch.Tensor) else value) for value in values]
