"""What the model that training starts from says of each pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.lazy import numpy as np
from alignkit.models.layout import Example
from alignkit.models.policy import Policy
from alignkit.models.readings import States
from alignkit.models.reference import Reference
from alignkit.models.scorer import Want
from alignkit.progress.display import counted

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True)
class ReferenceSays:
    """Numbers of n pairs under the reference; D is the width of its hidden states.

    Hidden states are the last layer's, at the positions that predict the response's tokens.

    Attributes:
        rows: the pairs.
        logps: [n, 2] log-prob of chosen and rejected, nats, summed over the tokens.
        lengths: [n, 2] their tokens, the end token included.
        sums: [n, 2, D] float32 hidden states, summed over the tokens.
    """

    rows: Sequence[TokenRow]
    logps: ndarray
    lengths: ndarray
    sums: ndarray

    @property
    def means(self) -> ndarray:
        """[n, 2, D] hidden states, a mean over the tokens."""
        means: ndarray = self.sums / self.lengths[..., None].astype(np.float32)
        return means


def ask_reference(
    policy: Policy, rows: Sequence[TokenRow], batch_size: int, autocast: Callable[[], AbstractContextManager[None]]
) -> ReferenceSays:
    """What the reference says of pairs, without gradient.

    Args:
        policy: the model before training; with an adapter, the reference is the model without it.
        rows: pairs no longer than the model takes.
        batch_size: pairs at once.
        autocast: the precision of the forward pass.
    """
    reference = Reference(policy.scorer, policy if policy.has_adapter else None)
    logps, lengths, sums = [], [], []
    with counted("reference on pairs", len(rows)) as advance:
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            batch = policy.collate([Example(row.prompt, _both(row)) for row in part])
            with autocast():
                scored = reference.score(batch, Want(predictions=True))
            assert scored.predictions is not None
            sums.append(States(batch, scored.predictions.hidden_ND).sums_BRD.float().numpy())
            lengths.append(batch.mask_BRT.sum(-1).cpu().numpy())
            logps.append(scored.logp_BRT.double().sum(-1).cpu().numpy())
            advance(len(part))
    return ReferenceSays(rows, np.concatenate(logps), np.concatenate(lengths), np.concatenate(sums))


def _both(row: TokenRow) -> list[ndarray]:
    return [row.responses["chosen"], row.responses["rejected"]]
