"""Per-token reference log-probs, computed once and kept on disk, shared by runs, losses and seeds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.files import write_bytes
from alignkit.lazy import safetensors_torch, torch
from alignkit.models.policy import Policy
from alignkit.models.reference import Reference
from alignkit.models.scorer import Want

if TYPE_CHECKING:
    from torch import Tensor


class ReferenceCache:
    """Reference log-probs of known rows.

    Args:
        logps: (row index, `where`) -> [N] float32, the row's responses one after the other.
    """

    def __init__(self, logps: dict[tuple[int, str], Tensor]) -> None:
        self._logps = logps

    def lookup(self, rows: Sequence[TokenRow], mask_BRT: Tensor) -> Tensor:
        """[B, R, T] log-probs of the rows' responses, nats, 0 off the mask."""
        packed_N = torch.cat([self._logps[row.index, row.where] for row in rows]).to(mask_BRT.device)
        return torch.zeros(mask_BRT.shape, device=mask_BRT.device).masked_scatter(mask_BRT, packed_N)


def cache_folder() -> Path:
    """`$ALIGNKIT_CACHE/reference`, else `~/.cache/alignkit/reference`."""
    return Path(os.environ.get("ALIGNKIT_CACHE", "~/.cache/alignkit")).expanduser() / "reference"


def reference_cache(
    rows: Sequence[TokenRow], key: str, policy: Policy, reference: Callable[[], Reference], batch_size: int
) -> ReferenceCache:
    """Reference log-probs of all rows: read from disk, or computed now and written there.

    Args:
        rows: what will be looked up.
        key: file name; covers model, precision and rows (whose tokens cover tokenizer, template and truncation).
        policy: layout, padding and device.
        reference: makes the reference, when it is needed.
        batch_size: rows in one forward pass.
    """
    path = cache_folder() / f"{key}.safetensors"
    lengths = [sum(map(len, row.responses.values())) for row in rows]
    if path.exists():
        flat_N = safetensors_torch.load_file(path)["logps"]
    else:
        flat_N = torch.cat(list(_computed(rows, policy, reference(), batch_size)))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, safetensors_torch.save({"logps": flat_N}))
    assert len(flat_N) == sum(lengths), "the key covers the rows"
    pieces = torch.split(flat_N, lengths)
    return ReferenceCache({(row.index, row.where): piece for row, piece in zip(rows, pieces, strict=True)})


def _computed(rows: Sequence[TokenRow], policy: Policy, reference: Reference, batch_size: int) -> Iterator[Tensor]:
    for start in range(0, len(rows), batch_size):
        batch = policy.batch(rows[start : start + batch_size])
        yield reference.score(batch, Want()).logp_BRT[batch.mask_BRT].float().cpu()
