"""Running mean and deviation of what the examples of steps show, kept in checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.asks.whole_step import State, WholeStep
from alignkit.lazy import torch
from alignkit.losses.base import TIE, Loss

if TYPE_CHECKING:
    from torch import Tensor


class Running(Loss, WholeStep):
    """Base of the losses that compare log-ratios of a step's pairs with those of the steps before."""

    momentum: float = Field(0.9, ge=0, lt=1)
    """How much of the running mean and deviation a step leaves; usual 0.9."""

    def needs(self) -> Needs:
        return super().needs() | Needs(reference=True, whole_step=frozenset({self}))

    def initial_state(self) -> State:
        return start()


def start() -> State:
    """Scalars, both 0: the first steps pull them away from there."""
    return {name: torch.zeros((), dtype=torch.float64) for name in ("mean", "deviation")}


def updated(values_N: Tensor, state: State, momentum: float) -> State:
    """With these values taken in: momentum * before + (1 - momentum) * theirs. One value alone deviates by 0."""
    deviation = values_N.std() if len(values_N) > 1 else torch.zeros_like(values_N[0])
    news = {"mean": values_N.mean(), "deviation": deviation}
    return {name: momentum * state[name] + (1 - momentum) * value for name, value in news.items()}


def standardised(values_N: Tensor, state: State) -> Tensor:
    """[N] distance from the mean in deviations; where nothing deviates by more than rounding, that is not blown up."""
    return (values_N - state["mean"]) / state["deviation"].clamp_min(TIE)
