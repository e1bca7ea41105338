"""Whether token weights find the tokens that matter, where those are known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignkit import world
from alignkit.asks.planted import DOUBT
from alignkit.data.rows import TokenRow
from alignkit.data.sources import WORLD
from alignkit.evaluation.base import Measure, Value
from alignkit.evaluation.summary import Mean, Records
from alignkit.models.statistics import Entropy
from alignkit.scores import Sees, TokenScores

if TYPE_CHECKING:
    from numpy import ndarray

    from alignkit.evaluation.scene import HeldOut, Scene


class Weights(Measure):
    """Whether token weights find the planted critical tokens of the built-in world.

    weight_auc: chance that a critical token weighs more than another of its response; 0.5 is chance. The mean over the
    responses of a row, then over rows; rows whose critical tokens truncation cut off are left out.
    weight_mass: share of the weight that lies on critical tokens, in 0 to 1.
    weight_fork_auc: the AUC of critical tokens at which the reference is in doubt, its entropy at least 0.3 nats; other
    critical tokens, such as the later words of a phrase, are on neither side. One more pass of the reference; left out
    where the method has none.
    """

    values = (
        Value("weight_auc", Mean("weight_auc"), "AUC of token weights", better="higher"),
        Value("weight_mass", Mean("weight_mass"), "weight on critical tokens", better="higher"),
        Value("weight_fork_auc", Mean("weight_fork_auc"), "AUC where in doubt", better="higher"),
    )

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
        """What can be said of each row; nothing where truncation left no response with critical and other tokens."""
        if not self.weighs(held_out.scene):
            return [{} for _ in held_out.rows]
        responses = held_out.scores.responses
        entropy_BRT = held_out.reference_statistic(Entropy())
        in_doubt_BRT = None if entropy_BRT is None else (entropy_BRT >= DOUBT).cpu().numpy()
        rows = enumerate(held_out.rows)
        return [_found(row, responses, b, None if in_doubt_BRT is None else in_doubt_BRT[b]) for b, row in rows]

    def counts(self, records: Records) -> dict[str, float]:
        """`weight_auc_rows`, those that it was taken over."""
        number = sum("weight_auc" in record for record in records)
        return {"weight_auc_rows": float(number)} if number else {}

    def notes(self, after: Mapping[str, float]) -> Iterator[str]:
        """How many rows it was taken over, if not over all."""
        if after.get("weight_auc_rows", math.inf) < after.get("pairs", after.get("responses", 0.0)):
            yield f"token weights of {after['weight_auc_rows']:,.0f}: the others have no critical token left"


def _found(row: TokenRow, responses: Sequence[TokenScores], b: int, in_doubt_RT: ndarray | None) -> dict[str, float]:
    """Means over the row's responses that have them."""
    critical = [row.critical[name] for name in row.weighted]
    pairs = list(zip(critical, responses, strict=True))
    weights = [scores.weights_BT[b, : len(critical_T)].cpu().numpy() for critical_T, scores in pairs]
    found = {"weight_auc": world.weight_auc(weights, critical), "weight_mass": world.weight_mass(weights, critical)}
    if in_doubt_RT is not None:
        in_doubt = [doubt_T[: len(critical_T)] for critical_T, doubt_T in zip(critical, in_doubt_RT, strict=True)]
        found["weight_fork_auc"] = world.weight_auc(weights, critical, in_doubt)
    return {name: value for name, value in found.items() if value is not None}
