"""The token weights of one data row, as the recipe's weighting gives them now."""

from __future__ import annotations

from collections.abc import Iterator

from rich.panel import Panel

from alignkit.data.pieces import pieces_of
from alignkit.data.rows import TokenRow
from alignkit.engine.scoring import Scoring
from alignkit.report.heatmap import token_heatmap

EQUAL = 1e-6
"""Distance from 1 up to which a weight is uniform; their mean is 1."""


def weight_heatmaps(scoring: Scoring, row: TokenRow) -> Iterator[Panel]:
    """A heatmap of each response of the row whose weights differ; none where single responses are imitated or drawn."""
    if scoring.method.view.gives == "responses" or not row.responses:
        return
    tokenizer = scoring.policy.tokenizer
    where = row.where.rpartition("/")[2]  # a long path would push the line's number out of the title
    kinds = [f"a {name}" for name in row.weighted]
    if row.label is not None:
        kinds = ["a desirable" if row.label else "an undesirable"]
    for name, kind, scores in zip(row.weighted, kinds, scoring.score([row]).responses, strict=True):
        ids = row.responses[name]
        weights: list[float] = scores.weights_BT[0, : len(ids)].tolist()
        if all(abs(weight - 1) <= EQUAL for weight in weights):
            continue
        yield token_heatmap(
            pieces_of(tokenizer, ids.tolist(), row.prompt.tolist()),
            weights,
            title=f"weights of {scoring.method.weighting.name} on {kind} response ({where})",
            critical=row.critical[name].tolist() if row.critical else None,
        )
