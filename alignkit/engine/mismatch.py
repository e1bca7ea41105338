"""How far the policy has moved on responses that were not written for the prompt: the baseline of KTO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alignkit.data.rows import TokenRow
from alignkit.engine.method import Sizes
from alignkit.engine.scoring import Scoring
from alignkit.lazy import accelerate, torch
from alignkit.models.scorer import Want

if TYPE_CHECKING:
    from torch import Tensor


def mean_mismatch(scoring: Scoring, batch: Sequence[TokenRow], sizes: Sizes) -> Tensor:
    """Scalar; mean over the rows of the log-ratio, nats, of the row before's first response under a row's prompt.

    The row before the first one is the last. A batch of one row has no other, and 0.

    Args:
        scoring: gives policy and reference; past the loop's wrapper and without gradient.
        batch: the optimizer step's rows over all processes, which share the work.
        sizes: how many rows at once, and how long a row may be.
    """
    device = scoring.policy.device
    if len(batch) < 2:
        return torch.zeros((), device=device)
    state: Any = accelerate.PartialState()  # mypy cannot tell the types of its attributes
    mine = range(state.process_index, len(batch), state.num_processes)
    rows = [_joined(batch[i], batch[i - 1], sizes.max_length) for i in mine]
    parts = sizes.cut.parts(rows, scoring.laid.meter)
    differences = [_logratios(scoring, rows[part]).flatten() for part in parts]
    totals: list[float] = accelerate.utils.gather_object([_total(differences)])
    return torch.tensor(sum(totals) / len(batch), device=device)


def _joined(row: TokenRow, before: TokenRow, max_length: int) -> TokenRow:
    """The row's prompt with the other's response, cut where the two together would be longer than any row."""
    response = next(iter(before.responses.values()))
    return replace(row, responses={"mismatched": response[: max(1, max_length - len(row.prompt))]})


def _total(parts: Sequence[Tensor]) -> float:
    """Their sum in float64, on the CPU, as not every accelerator has it; the device is asked once for all."""
    if not parts:
        return 0.0
    on_host = torch.split(torch.cat(list(parts)).cpu(), [len(part) for part in parts])
    return sum(float(part.double().sum()) for part in on_host)


@torch.no_grad()
def _logratios(scoring: Scoring, rows: Sequence[TokenRow]) -> Tensor:
    """[B, R, T] nats."""
    assert scoring.reference is not None, "mismatched responses are scored by a live reference"
    batch = scoring.policy.batch(rows)
    with scoring.autocast():
        policy_BRT = scoring.policy.scorer(batch, Want()).logp_BRT
        reference_BRT = scoring.reference.score(batch, Want()).logp_BRT
    difference_BRT: Tensor = policy_BRT - reference_BRT
    return difference_BRT
