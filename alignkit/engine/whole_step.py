"""The pass before a step in which components see all of its batch: every process scores its share, and all put what was
observed together in the batch's order, so that neither micro-batches nor processes decide anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from alignkit.asks.whole_step import WholeStep
from alignkit.data.rows import TokenRow
from alignkit.engine.method import Sizes
from alignkit.engine.scoring import WEIGHTS, Scoring
from alignkit.errors import NonFiniteError
from alignkit.finite import postponed
from alignkit.lazy import accelerate, torch
from alignkit.loop.order import Share
from alignkit.scores import RowScores
from alignkit.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor

Look = Callable[[RowScores, WholeStep], "list[tuple[Tensor, Tensor]]"]
"""What a component observes of each response, [B, W], and a mask of what of it counts."""


def decide_step(scoring: Scoring, rows: Sequence[TokenRow], step: int, sizes: Sizes) -> None:
    """Lets the components of a method decide what they want of a step's batch; see `WholeStep`.

    Token weightings come first: losses see weighted scores. Nothing is computed that nobody wants.

    Args:
        scoring: past the loop's wrapper.
        rows: the optimizer step's, over all processes, which share the work.
        step: its number, from 0.
        sizes: how many rows at once.
    """
    decide_weights(scoring, rows, step, sizes)
    _decide(scoring, rows, step, sizes, scoring.decisions.of_views, _of_view(scoring))


def decide_weights(
    scoring: Scoring, rows: Sequence[TokenRow], step: int, sizes: Sizes, *, is_drawing: bool = False
) -> None:
    """The same for token weightings alone; nothing where the rows keep weights of the policy that sampled them.

    `is_drawing` is for rows that are about to: they have no anchors yet, and nothing is remembered of them.
    """
    scoring.decisions.begin(rows)
    is_kept = scoring.method.drawing is not None and WEIGHTS in rows[0].token_columns
    keys = [] if is_kept else scoring.decisions.of_spans
    _decide(scoring, rows, step, sizes, keys, _of_spans, has_step=not is_drawing)


def _of_spans(scores: RowScores, key: WholeStep) -> list[tuple[Tensor, Tensor]]:
    return [(key.observe(span), span.mask_BS) for span in scores.spans]


def _of_view(scoring: Scoring) -> Look:
    def look(scores: RowScores, key: WholeStep) -> list[tuple[Tensor, Tensor]]:
        value_BF = key.observe(scoring.method.view.view(scores)).detach()
        return [(value_BF, torch.ones_like(value_BF, dtype=torch.bool))]

    return look


def _decide(
    scoring: Scoring,
    rows: Sequence[TokenRow],
    step: int,
    sizes: Sizes,
    keys: Sequence[WholeStep],
    look: Look,
    *,
    has_step: bool = True,
) -> None:
    if not keys:
        return
    state: Any = accelerate.PartialState()  # mypy cannot tell the types of its attributes
    share = Share.of(rows, state.process_index, state.num_processes)
    parts = share.micro_batches(sizes.cut, scoring.laid.meter) if share.factor else []
    mine = _on_host([_looked(scoring, part, step if has_step else None, keys, look) for part in parts])
    found: dict[int, list[list[Tensor]]] = {}
    for of_process in accelerate.utils.gather_object([dict(zip(_indices(parts), mine, strict=True))]):
        found |= of_process
    for place, key in enumerate(keys):
        pieces = [found[row.index][place] for row in rows]
        if not all(torch.isfinite(piece).all() for of_row in pieces for piece in of_row):
            raise NonFiniteError(f"what '{getattr(key, 'name', key)}' observes of the whole step is NaN or infinite")
        seen = _padded(pieces)
        is_of_view = key in scoring.decisions.of_views
        seed = derive(scoring.method.seed, "whole step", step, place)
        scoring.decisions.decide(key, seen[:, 0] if is_of_view else seen, seed)


def _indices(parts: Sequence[Sequence[TokenRow]]) -> list[int]:
    return [row.index for part in parts for row in part]


def _looked(
    scoring: Scoring, rows: Sequence[TokenRow], step: int | None, keys: Sequence[WholeStep], look: Look
) -> list[list[tuple[Tensor, Tensor]]]:
    """For each component, for each response, what it observes and what of it counts. Importances need a graph, and what
    is required of weights is asked when they are trained with."""
    with torch.set_grad_enabled(bool(scoring.needs.attributions)), postponed():
        scores = scoring.score(rows, step, observing=True)
        return [look(scores, key) for key in keys]


def _on_host(parts: Sequence[list[list[tuple[Tensor, Tensor]]]]) -> list[list[list[Tensor]]]:
    """For each row, component and response the 1-D float64 of what counts; the device is asked once for all."""
    flat = [both for part in parts for of_key in part for both in of_key]
    if not flat:
        return []
    sizes = [2 * value.numel() for value, _ in flat]
    together = torch.cat([torch.stack([value.detach(), mask.to(value.dtype)]).flatten() for value, mask in flat]).cpu()
    on_host = iter(torch.split(together, sizes))

    def pieces(value: Tensor) -> list[Tensor]:
        values, mask = next(on_host).view(2, *value.shape)
        return [one[kept > 0].double() for one, kept in zip(values, mask, strict=True)]

    found: list[list[list[Tensor]]] = []
    for part in parts:
        of_part = [[pieces(value) for value, _ in of_key] for of_key in part]
        found += _by_row(of_part)
    return found


def _by_row(of_part: Sequence[Sequence[Sequence[Tensor]]]) -> Iterator[list[list[Tensor]]]:
    """From component, response, row to row, component, response."""
    for b in range(len(of_part[0][0])):
        yield [[of_response[b] for of_response in of_key] for of_key in of_part]


def _padded(pieces: Sequence[Sequence[Tensor]]) -> Tensor:
    """[N, R, W], NaN where there is nothing."""
    flat = [piece for of_row in pieces for piece in of_row]
    padded = torch.nn.utils.rnn.pad_sequence(flat, batch_first=True, padding_value=torch.nan)
    return padded.view(len(pieces), len(pieces[0]), -1)
