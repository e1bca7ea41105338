"""How far the policy has moved on text that nobody wrote for the prompt: the baseline of KTO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.lazy import accelerate, torch
from alignkit.models.layout import Example
from alignkit.models.scorer import Want
from alignkit.scoring import Scoring

if TYPE_CHECKING:
    from torch import Tensor


def mean_mismatch(scoring: Scoring, batch: Sequence[TokenRow]) -> Tensor:
    """Scalar; mean over the rows of the log-ratio, nats, of the row before's first response under a row's prompt.

    The row before the first one is the last. A batch of one row has no other, and 0.

    Args:
        scoring: gives policy and reference; past the loop's wrapper and without gradient.
        batch: the optimizer step's rows over all processes, which share the work.
    """
    device = scoring.policy.device
    if len(batch) < 2:
        return torch.zeros((), device=device)
    size = scoring.recipe.training.micro_batch_size
    total = torch.zeros((), device=device, dtype=torch.float64)
    with accelerate.PartialState().split_between_processes(list(range(len(batch)))) as mine:
        for start in range(0, len(mine), size):
            places = mine[start : start + size]
            examples = [Example(batch[i].prompt, [next(iter(batch[i - 1].responses.values()))]) for i in places]
            total += _logratios(scoring, examples).sum()
    whole: Tensor = accelerate.utils.reduce(total, "sum")
    return (whole / len(batch)).float()


@torch.no_grad()
def _logratios(scoring: Scoring, examples: Sequence[Example]) -> Tensor:
    """[B, R, T] float64, nats."""
    assert scoring.reference is not None, "mismatched responses are scored by a live reference"
    batch = scoring.policy.collate(examples)
    with scoring.autocast():
        policy_BRT = scoring.policy.scorer(batch, Want()).logp_BRT
        reference_BRT = scoring.reference.score(batch, Want()).logp_BRT
    difference_BRT: Tensor = policy_BRT.double() - reference_BRT.double()
    return difference_BRT
