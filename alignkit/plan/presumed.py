"""What a rehearsal makes up, because it has no numbers: looked-up values, sampled anchors, what rows remember."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from alignkit.asks.table import Table
from alignkit.data.rows import TokenRow
from alignkit.engine.attributor import Memory
from alignkit.engine.objective import ObjectiveStep
from alignkit.lazy import numpy as np
from alignkit.lazy import torch
from alignkit.plan.batches import Laid
from alignkit.rollouts.pool import AnchorPool, DrawnAnchor

if TYPE_CHECKING:
    from torch import Tensor


class Zeros(Table):
    """Values of whatever rows."""

    def __init__(self) -> None:
        super().__init__({})

    def lookup(self, rows: Sequence[TokenRow], mask: Tensor) -> Tensor:
        return torch.zeros(mask.shape, device=mask.device)


class PresumedAnchors(AnchorPool):
    """Anchors of presumed lengths."""

    laid: Laid

    def __getitem__(self, row: TokenRow) -> DrawnAnchor:
        num_tokens = self.laid.anchor(row)
        return DrawnAnchor(np.zeros(num_tokens, dtype=np.int32), torch.zeros(num_tokens))


class NoMemory(Memory):
    """What rows keep holds no numbers here, so that all are due."""

    def is_due(self, attribution: Any, rows: Any, step: int) -> bool:  # noqa: ANN401
        return True

    def update(self, attribution: Any, rows: Any, step: int, new_BRS: Any, mask_BRS: Tensor) -> Tensor:  # noqa: ANN401
        return torch.zeros(mask_BRS.shape, device=mask_BRS.device)


class PresumedStep(ObjectiveStep):
    """A step whose anchors and whose mean mismatch are there."""

    def ready(self) -> PresumedStep:
        """The step after what `prepare` would do."""
        self._mismatch = torch.zeros((), device=self.scoring.policy.device)
        return self
