"""Whether token weights find the tokens that matter, where those are known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignkit import world
from alignkit.data.rows import TokenRow
from alignkit.data.sources import WORLD
from alignkit.evaluation.base import Measure, Value
from alignkit.evaluation.summary import Mean, Records
from alignkit.scores import Sees, TokenScores

if TYPE_CHECKING:
    from alignkit.evaluation.scene import HeldOut, Scene


class Weights(Measure):
    """AUC of token weights by the planted critical tokens of the built-in world.

    weight_auc: chance that a critical token weighs more than another of its response; 0.5 is chance. The mean over the
    responses of a row, then over rows; rows whose critical tokens truncation cut off are left out.
    """

    values = (Value("weight_auc", Mean("weight_auc"), "AUC of token weights", better="higher"),)

    def misfit(self, gives: Sees, *, on_world: bool) -> str | None:
        """It needs planted tokens, and weights that matter."""
        if not on_world:
            return f"'{self.name}' knows the planted tokens of {WORLD} only; leave it out"
        if gives == "responses":
            return f"'{self.name}' asks how token weights are spread, and they do not matter here; leave it out"
        return None

    def weighs(self, scene: Scene) -> bool:
        """Where there is something to find."""
        return self.misfit(scene.scoring.method.view.gives, on_world=scene.on_world) is None

    def per_row(self, held_out: HeldOut) -> Sequence[Mapping[str, Any]]:
        """The AUC of each row that has one."""
        if not self.weighs(held_out.scene):
            return [{} for _ in held_out.rows]
        responses = held_out.scores.responses
        aucs = (_auc(row, responses, b) for b, row in enumerate(held_out.rows))
        return [{} if auc is None else {"weight_auc": auc} for auc in aucs]

    def counts(self, records: Records) -> dict[str, float]:
        """`weight_auc_rows`, those that it was taken over."""
        number = sum("weight_auc" in record for record in records)
        return {"weight_auc_rows": float(number)} if number else {}

    def notes(self, after: Mapping[str, float]) -> Iterator[str]:
        """How many rows it was taken over, if not over all."""
        if after.get("weight_auc_rows", math.inf) < after.get("pairs", after.get("responses", 0.0)):
            yield f"token weights of {after['weight_auc_rows']:,.0f}: the others have no critical token left"


def _auc(row: TokenRow, responses: Sequence[TokenScores], b: int) -> float | None:
    """Mean over the row's responses; None where truncation left none with critical and other tokens."""
    names = row.weighted
    weights = [
        scores.weights_BT[b, : len(row.critical[name])].cpu().numpy()
        for name, scores in zip(names, responses, strict=True)
    ]
    return world.weight_auc(weights, [row.critical[name] for name in names])
