"""What the loop asks of a training step, and nothing more: the loop knows no algorithm.

The engine (`alignkit.engine.objective.ObjectiveStep`) is the implementation; tests of the loop use a toy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from alignkit.data.rows import TokenRow
from alignkit.parallel.sharding import ModelState

if TYPE_CHECKING:
    from torch import Tensor, nn

Metrics = dict[str, tuple["Tensor | float", "Tensor | float"]]
"""name -> (sum, count); micro-batches and processes add both, the log shows sum / count. Either may be a scalar tensor
on the device: the loop reads all of them together, after the step's last backward."""


@dataclass(frozen=True)
class StepRows:
    """What an optimizer step trains on.

    Attributes:
        rows: over all processes, the same on each. Without any, nothing is trained in this step.
        metrics: of how they came about, for the log.
    """

    rows: Sequence[TokenRow]
    metrics: Mapping[str, float] = field(default_factory=dict)


class TrainingStep(Protocol):
    """The algorithm's side of the loop."""

    updates: int
    """Optimizer steps, one after the other, that each batch of the data's order is there for."""

    module: nn.Module
    """The trained module. The loop hands it to accelerate, puts the wrapped one here while it trains, and puts the
    plain one back in the end. `loss` calls the wrapped one exactly once, which is what DDP can follow."""

    def draw(self, step: int, batch: Sequence[TokenRow]) -> StepRows:
        """Called first, on every process: what optimizer step `step` (from 0) makes of its batch of the data's order
        over all processes. Offline methods train on the batch itself, others on what they sample for it."""
        ...

    def totals(self, rows: Sequence[TokenRow]) -> dict[str, float]:
        """Counts that losses are divided by (`examples`, `tokens`), a function of the rows and of what
        `prepare` made of them: every process asks for the whole step's rows after it and before the forward pass. They
        are logged under their names."""
        ...

    def meter(self) -> Callable[[TokenRow], int]:
        """Counts, beginning at 0, the tokens of a forward pass as one row after the other is added to it; at most,
        where that is not known: every process must count the same. Micro-batches are cut by it."""
        ...

    def prepare(self, step: int, batch: Sequence[TokenRow], coming: Mapping[int, Sequence[TokenRow]]) -> None:
        """Called on every process before optimizer step `step` (from 0), for what is costly (anchors) or looks at the
        whole batch. `batch` are the rows that it trains on, over all processes; `coming` this process's rows of this
        step and of `lookahead` - 1 later ones, keyed by step."""
        ...

    lookahead: int
    """Steps whose rows `prepare` must see, at least 1."""

    def loss(self, rows: Sequence[TokenRow], step: int, totals: Mapping[str, float]) -> tuple[Tensor, Metrics]:
        """Scalar objective of one micro-batch, already divided by the global `totals` of the optimizer step, and the
        metrics of these rows. The sum over all micro-batches and processes is the step's objective. torch's global
        generator is seeded for each call, so that what is drawn from it survives a resume. What it requires
        (`alignkit.finite.require`) is asked after the last backward too."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Tensors, beside parameters and optimizer, that an exact resume needs (the anchors in use); CPU."""
        ...

    def load_state(self, *states: Mapping[str, Tensor]) -> None:
        """Puts `state` back; several where another number of processes goes on, those of all the processes before."""
        ...

    def shared_state(self) -> dict[str, Tensor]:
        """The same of what all processes have alike, written once: called on every process, read in the main one."""
        ...

    def load_shared_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts `shared_state` back, on every process; nothing where the checkpoint has none."""
        ...

    def model_state(self) -> ModelState:
        """What `save_model` needs beside the plain module, in the main process: called on every process before it."""
        ...

    def save_model(self, folder: Path, state: ModelState) -> None:
        """Writes the plain module to `folder`, which does not exist yet, so that it can be loaded by itself."""
        ...

    def stored_parameters(self, folder: Path) -> Mapping[str, Tensor]:
        """The trained parameters in what `save_model` wrote: their names in the plain module -> values, CPU."""
        ...
