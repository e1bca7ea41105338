"""The token weights of one data row, as the recipe's weighting gives them now."""

from __future__ import annotations

from collections.abc import Iterator

from rich.panel import Panel

from alignkit.data.rows import TokenRow
from alignkit.report.heatmap import token_heatmap
from alignkit.scoring import Scoring


def weight_heatmaps(scoring: Scoring, row: TokenRow) -> Iterator[Panel]:
    """A heatmap of each response of the row; none where single responses are imitated."""
    if scoring.recipe.trainer.gives == "responses":
        return
    tokenizer = scoring.policy.tokenizer
    for name, scores in zip(row.weighted, scoring.score([row]).responses, strict=True):
        ids = row.responses[name]
        yield token_heatmap(
            [str(tokenizer.decode([token])) for token in ids.tolist()],
            scores.weights_BT[0, : len(ids)].tolist(),
            title=f"weights of {scoring.recipe.weighting.name} on a {name} response ({row.where})",
            critical=row.critical[name].tolist() if row.critical else None,
        )
