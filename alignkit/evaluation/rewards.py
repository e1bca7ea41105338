"""What the rewards of the recipe say of held-out samples: whether training raised what it was to raise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignkit.evaluation.base import Measure, Value
from alignkit.evaluation.samples import number_of_samples
from alignkit.evaluation.summary import Mean, Records
from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from alignkit.evaluation.scene import HeldOut, Scene

EACH = "reward/"
"""How a record's key of one reward begins."""


class Rewards(Measure):
    """The recipe's rewards of sampled responses to held-out prompts, where its trainer samples.

    reward: the weighted sum of a response's rewards, those that have an opinion of it.
    reward/NAME: the mean of each where there are several.
    """

    looks_at = "samples"
    values = (Value("reward", Mean("reward"), "reward", better="higher"),)

    def count(self, scene: Scene) -> int:
        """All that the recipe asks for, where there are rewards."""
        return super().count(scene) if scene.scoring.method.drawing is not None else 0

    def per_row(self, held_out: HeldOut) -> Sequence[Mapping[str, Any]]:
        """The sum, and each reward that has a score."""
        if not held_out.scores_of_rewards:
            return [{} for _ in held_out.rows]
        found = []
        for scores, total in held_out.scores_of_rewards:
            each = {f"{EACH}{title}": score for title, score in scores.items() if score is not None}
            found.append((each if len(scores) > 1 else {}) | ({} if total is None else {"reward": total}))
        return found

    def counts(self, records: Records) -> dict[str, float]:
        """`samples`, and the mean of each of several rewards over those that it has a score for."""
        names = dict.fromkeys(key for record in records for key in record if key.startswith(EACH))
        means = {name: float(np.mean([record[name] for record in records if name in record])) for name in names}
        return means | ({"samples": float(len(records))} if any("reward" in record for record in records) else {})

    def notes(self, after: Mapping[str, float]) -> Iterator[str]:
        """How many there were."""
        yield from number_of_samples(after)
