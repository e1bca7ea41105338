"""What token values are computed with; the engine's workbench is one (`alignkit.engine.workbench`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from alignkit.data.rows import TokenRow
from alignkit.models.attribution import Attribution
from alignkit.models.readings import Reading
from alignkit.models.statistics import Statistic

if TYPE_CHECKING:  # these modules load torch
    from accelerate import Accelerator
    from torch import Tensor

    from alignkit.models.layout import Batch
    from alignkit.models.policy import Policy
    from alignkit.models.reference import Reference
    from alignkit.models.scorer import Scored


class Bench(Protocol):
    """A run that is about to start."""

    @property
    def policy(self) -> Policy:
        """The model before training."""
        ...

    @property
    def reference(self) -> Callable[[], Reference]:
        """Gives the reference, live."""
        ...

    @property
    def train(self) -> Sequence[TokenRow]:
        """The training rows."""
        ...

    @property
    def accelerator(self) -> Accelerator:
        """Tells the processes apart."""
        ...

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Of data, template and model before training."""
        ...

    @property
    def batch_size(self) -> int:
        """Rows in one forward pass without a graph."""
        ...

    @property
    def micro_batch_size(self) -> int:
        """Rows in one forward pass with a graph."""
        ...

    @property
    def head_chunk(self) -> int:
        """Response tokens whose logits exist at once."""
        ...

    @property
    def seed(self) -> int:
        """The run's seed."""
        ...

    @property
    def is_dry(self) -> bool:
        """Whether nothing is to be kept."""
        ...

    @property
    def note(self) -> Callable[[str], None]:
        """Gets what the user should know while waiting."""
        ...

    def scored(
        self,
        model: Reference,
        rows: Sequence[TokenRow],
        statistics: frozenset[Statistic] = frozenset(),
        readings: frozenset[Reading] = frozenset(),
    ) -> Iterator[tuple[Batch, Scored]]:
        """Batches of the rows with log-probs, predictions, `statistics` and `readings` of `model`, without gradient."""
        ...

    def importances(
        self, attribution: Attribution, rows: Sequence[TokenRow], *, full_sequence: bool
    ) -> Iterator[tuple[Batch, Tensor]]:
        """Batches of the rows with their [B, R, S] importances under the reference."""
        ...
