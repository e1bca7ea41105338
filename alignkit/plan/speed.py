"""How fast this machine is, tried for a moment, and how long a run takes at that speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alignkit.lazy import torch, transformers
from alignkit.plan.ledger import Ledger, Stage

FACTOR = 2.5
"""A run may take so many times longer or shorter: docs/plan.md has what was measured."""

MOST_PLACES = 4096
"""Rows of the matrices that are tried."""

_TRIED_SECONDS = 0.1


@dataclass(frozen=True)
class Speed:
    """What a device does in a second.

    Attributes:
        flops: floating-point operations of matrix products, float32.
        moved: bytes read and written by simple operations.
        calls: operations on tensors so small that only the call counts.
    """

    flops: float
    moved: float
    calls: float

    def seconds(self, stages: Sequence[Stage]) -> float:
        """Time of stages as often as a run goes through them."""
        return sum(stage.times * self._once(stage) for stage in stages)

    def _once(self, stage: Stage) -> float:
        return stage.share * (stage.flops / self.flops + stage.moved / self.moved) + stage.calls / self.calls


def try_speed(
    device: torch.device, sizes: tuple[int, int, int], clock: Callable[[], float] = time.perf_counter
) -> Speed:
    """Takes half a second.

    Args:
        device: what is tried.
        sizes: places of a batch, width of the model and of its feed-forward layers.
        clock: seconds that only grow.
    """
    places, width, inner = min(sizes[0], MOST_PLACES), *sizes[1:]
    hidden, weight = torch.rand(places, width, device=device), torch.rand(inner, width, device=device)
    wide = torch.rand(places, inner, device=device)
    with device:
        model = _tiny_model()
    ids = torch.ones(1, 4, dtype=torch.int64, device=device)

    def train() -> None:
        model(input_ids=ids).logits.sum().backward()

    with Ledger() as ledger, ledger.measuring("one") as one:
        train()
    silu = torch.nn.functional.silu
    return Speed(
        flops=2 * places * width * inner / _fastest(lambda: torch.nn.functional.linear(hidden, weight), clock),
        moved=4 * 8 * places * inner / _fastest(lambda: silu(wide) * wide + wide, clock),
        calls=one.calls / _fastest(train, clock),
    )


def _tiny_model() -> transformers.PreTrainedModel:
    config = transformers.LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=4, num_attention_heads=2
    )
    with torch.random.fork_rng(devices=[]):
        return transformers.LlamaForCausalLM(config)


def _fastest(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of the fastest of several times."""
    found, end = list[float](), time.perf_counter() + _TRIED_SECONDS
    while time.perf_counter() < end or len(found) < 3:
        began = clock()
        work()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        found.append(clock() - began)
    return min(found)
