"""What a rehearsal makes up, because it has no numbers: looked-up values, sampled responses, what rows remember."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from alignkit.asks.table import Table
from alignkit.data.rows import TokenRow
from alignkit.engine.attributor import Memory
from alignkit.engine.method import Method
from alignkit.engine.objective import ObjectiveStep
from alignkit.lazy import numpy as np
from alignkit.lazy import torch
from alignkit.models.laid import Laid
from alignkit.rollouts.pool import AnchorPool, DrawnAnchor
from alignkit.rollouts.rollout import Group, Rollout
from alignkit.views.drawing import DrawingTrainer

if TYPE_CHECKING:
    from torch import Tensor


MOST_PROMPTS = 1000
"""Prompts that responses are made up for; of more, so many of all lengths."""


def presumed_rows(method: Method, prompts: Sequence[TokenRow]) -> tuple[Sequence[TokenRow], int]:
    """What is trained on, and how many rows come of a prompt: of sampled responses, the longest that there may be."""
    view, drawing = method.view, method.drawing
    if drawing is None or not isinstance(view, DrawingTrainer):
        return prompts, 1
    length, sampler = drawing.sampler.max_new_tokens, drawing.sampler
    ids, zeros = np.zeros(length, dtype=np.int32), np.zeros(length, dtype=np.float32)
    per_token = {"advantage": zeros, "sampled_logp": zeros}
    rollouts = [Rollout(ids, zeros, "", False, (), float(place), per_token) for place in range(sampler.responses)]
    by_length = sorted(prompts, key=lambda row: len(row.prompt))
    every = np.linspace(0, len(by_length) - 1, min(len(by_length), MOST_PROMPTS)).round().astype(int)
    rows = view.rows([Group(by_length[n], tuple(rollouts), n) for n in every.tolist()])
    return rows, len(rows) // len(every)


class Zeros(Table):
    """Values of whatever rows."""

    def __init__(self) -> None:
        super().__init__({})

    def lookup(self, rows: Sequence[TokenRow], mask: Tensor) -> Tensor:
        return torch.zeros(mask.shape, device=mask.device)

    def numbers(self, rows: Sequence[TokenRow]) -> Tensor:
        return torch.zeros(len(rows))


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
