"""What the last layer attended to. Fast kernels give no probabilities, so they are computed again of queries and keys.

An attention function says what it was called with (`note`); nobody listens unless a reading asks for attention. Only
the latest call is kept, and only it is computed again: of a decoder that has run, its last layer that attends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from alignkit.lazy import torch
from alignkit.models.layout import Batch

if TYPE_CHECKING:
    from torch import Tensor

Shares = Callable[[], "list[Tensor]"]
"""Gives [S, L, K] for each table: how L queries share their attention among K keys, a mean over the heads."""

_WATCH: ContextVar[list[Shares] | None] = ContextVar("watch", default=None)


@contextmanager
def watched() -> Iterator[list[Shares]]:
    """Whatever attends inside says so; the list holds the latest, or nothing."""
    seen: list[Shares] = []
    token = _WATCH.set(seen)
    try:
        yield seen
    finally:
        _WATCH.reset(token)


def is_watched() -> bool:
    """Whether anybody listens."""
    return _WATCH.get() is not None


def note(shares: Shares) -> None:
    """A layer has attended."""
    seen = _WATCH.get()
    if seen is not None:
        seen[:] = [shares]


@torch.no_grad()
def shares(query_SLHE: Tensor, key_SKGE: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """[S, L, K] float32 probabilities of a table, a mean over the heads; head by head, so that no more is in memory.

    Args:
        query_SLHE: queries of H heads.
        key_SKGE: keys of G heads, each of which serves H / G of the queries'.
        mask: [S, 1 or H, L, K]; bool, True where a query may look, or what is added to scores. None: each query sees
            the keys up to its own place.
        scaling: factor of the scores; None for 1 / sqrt(E).
    """
    num_heads, factor = query_SLHE.shape[2], scaling or query_SLHE.shape[-1] ** -0.5
    if mask is None:
        mask = torch.ones(query_SLHE.shape[1], key_SKGE.shape[1], dtype=torch.bool, device=query_SLHE.device).tril()
        mask = mask[None, None]
    total: Tensor | None = None
    with torch.autocast(query_SLHE.device.type, enabled=False):
        for head in range(num_heads):
            query_SLE = query_SLHE[:, :, head].float() * factor
            key_SKE = key_SKGE[:, :, head * key_SKGE.shape[2] // num_heads].float()
            scores_SLK = query_SLE @ key_SKE.transpose(1, 2)
            own = mask[:, min(head, mask.shape[1] - 1)]
            scores_SLK = scores_SLK.masked_fill(~own, -torch.inf) if own.dtype == torch.bool else scores_SLK + own
            found_SLK = scores_SLK.softmax(-1)
            total = found_SLK if total is None else total + found_SLK
    assert total is not None
    return total / num_heads


@torch.no_grad()
def among_responses(tables: Sequence[Tensor], batch: Batch) -> Tensor:
    """[B, R, T, T] float32 what each response token attends to in its own response, 0 off the mask.

    Args:
        tables: [S, L, K] each: of a packed row those of its pass over the responses, else one of [X, L, L].
        batch: what was scored.
    """
    length = batch.mask_BRT.shape[-1]
    if batch.packing is None:
        (table_XLL,) = tables
        rows_BRTL = table_XLL[batch.row_BRT, batch.place_BRT]
        found_BRTT = rows_BRTL.gather(-1, batch.place_BRT[:, :, None].expand(-1, -1, length, -1))
    else:
        segments = batch.packing.responses
        pairs = zip(tables, segments.before, strict=True)
        rows_MT = torch.cat([_after(table_SLK, before_S, length) for table_SLK, before_S in pairs])
        rows_NT = rows_MT[segments.slot_N]  # in the order of the pass, which is that of the packed response tokens
        found_BRTT = torch.cat([rows_NT, rows_NT.new_zeros(1, length)])[batch.packed.slot]
    seen_BRTT = batch.mask_BRT[..., None] & batch.mask_BRT[:, :, None]
    return found_BRTT.float().masked_fill(~seen_BRTT, 0.0)


def _after(table_SLK: Tensor, before_S: Tensor, length: int) -> Tensor:
    """[S * L, length] the columns from each segment's own first key on, 0 beyond the last."""
    place_ST = before_S[:, None] + torch.arange(length, device=before_S.device)
    is_key_S1T = (place_ST < table_SLK.shape[-1])[:, None]
    index_SLT = place_ST.clamp_max(table_SLK.shape[-1] - 1)[:, None].expand(-1, table_SLK.shape[1], -1)
    return table_SLK.gather(-1, index_SLT).masked_fill(~is_key_S1T, 0.0).flatten(0, 1)
