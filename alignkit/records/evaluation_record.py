"""What the JSON file of an evaluation holds: `evaluation.json`."""

from __future__ import annotations

from pydantic import Field

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
