"""The `evaluation` section of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from alignkit.benchmarks import BenchmarkSlot
from alignkit.evaluation import MeasureSlot
from alignkit.evaluation.base import Measure
from alignkit.evaluation.pairs import Pairs
from alignkit.evaluation.rewards import Rewards
from alignkit.evaluation.samples import Samples
from alignkit.evaluation.settings import LooksAt, Settings
from alignkit.evaluation.weights import Weights

BUILT_IN: tuple[Measure, ...] = (
    Pairs(name="pairs"),
    Samples(name="samples"),
    Rewards(name="rewards"),
    Weights(name="weights"),
)
"""What is measured where a recipe names no measures; each keeps silent where it has nothing to say."""


class EvaluationConfig(Settings):
    """What is measured before and after training, on held-out rows."""

    measures: Annotated[tuple[MeasureSlot, ...], Field(strict=False)] | None = None
    """What is measured, in the order of the report; null for all of pairs, samples, rewards and weights that apply."""

    benchmarks: Annotated[tuple[BenchmarkSlot, ...], Field(strict=False)] = ()
    """Questions with checkable answers, put to the model before and after training; docs/evaluate.md."""

    before: bool = True
    """Measure the model before training too; off where many runs start from the same model and one of them says it."""

    report: bool = True
    """Also write `report.html` at the end, and for it what single tokens weigh and how likely they are, before training
    and after it, on the first 40 held-out rows."""

    def check(self) -> None:
        """Asks each benchmark whether it can be run, before data and model are loaded, which may take long.

        Raises:
            AlignkitError: one cannot.
        """
        for benchmark in self.benchmarks:
            benchmark.check()

    @property
    def chosen(self) -> tuple[Measure, ...]:
        """The measures, those of null included."""
        return BUILT_IN if self.measures is None else self.measures

    def looked_at(self, looks_at: LooksAt) -> int:
        """The held-out rows that are looked at so, from the first; none where no measure does."""
        return self.most(looks_at) if any(measure.looks_at == looks_at for measure in self.chosen) else 0
