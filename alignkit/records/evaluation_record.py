"""What the JSON file of an evaluation holds: `evaluation.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from alignkit import intervals
from alignkit.intervals import Interval
from alignkit.records.files import Record
from alignkit.records.run_record import Session

EVALUATION = "evaluation.json"


class Score(Record):
    """One number; null where it is NaN or infinite, as JSON has neither."""

    value: float | None
    se: float | None = None
    """Standard error; null also of a count."""

    low: float | None = None
    high: float | None = None
    """Ends of the 95 % interval."""

    n: int | None = None
    """Items that it comes of; null of measures, whose rows are counted beside them."""

    @classmethod
    def of(cls, one: Interval) -> Score:
        """A number with its interval."""
        return cls(value=_finite(one.value), se=_finite(one.se), low=_finite(one.low), high=_finite(one.high), n=one.n)


def scores_of(summary: Mapping[str, float]) -> dict[str, Score]:
    """Values of measures, whose rows are many enough for the normal distribution.

    Args:
        summary: name -> value and `NAME_se` -> standard error, as in `eval.json`.
    """
    found = {}
    for name, value in summary.items():
        error = summary.get(f"{name}_se")
        if error is not None:
            one = Score.of(intervals.interval(value, error, n=0, df=math.inf))
            found[name] = one.model_copy(update={"n": None})
        elif not name.endswith("_se"):
            found[name] = Score(value=_finite(value))
    return found


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


class EvaluationRecord(Session):
    """`evaluation.json`: a model measured by itself."""

    ended: str | None
    """UTC; null until all is measured."""

    model: str
    """As it was named: a run, a model folder, a Hub id or a GGUF file."""

    recipe: str
    """YAML of all values."""

    fingerprints: dict[str, str]
    """`model`, `template` (the chat template's, `none` without) and `data`, where it was read -> hash, hex."""

    done: list[str] = Field(default_factory=list)
    """What is measured: titles of benchmarks, and `held-out data`."""

    first_prompts: dict[str, str] = Field(default_factory=dict)
    """Benchmark -> exactly what the model was given of its first item."""

    results: dict[str, Score] = Field(default_factory=dict)
    """`NAME/METRIC` of benchmarks, and values of measures by their name."""
