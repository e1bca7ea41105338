"""What a sweep file holds, as sections; what it means is in `points` and `planning`."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from alignkit.registry import Section
from alignkit.sweep.claims import Claim

NAME: Final = "[A-Za-z0-9][A-Za-z0-9_.-]{0,39}"
"""Regular expression of an arm's name; run folders are called after it."""

Keep = Literal["all", "final", "none"]
Values = Annotated[list[Any], Field(min_length=1)]
Grid = dict[str, Values]


class Range(Section):
    """Numbers between two, drawn evenly, or evenly in their logarithm."""

    low: float
    """Smallest value."""

    high: float
    """Largest value."""

    log: bool = False
    """Draw evenly in the logarithm, for what matters by factors, such as beta and learning rates."""

    whole: bool = False
    """Draw whole numbers, such as steps."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise PydanticCustomError("range", "low must be less than high")
        if self.log and self.low <= 0:
            raise PydanticCustomError("range", "low must be greater than 0 where log is true")
        return self


class Random(Section):
    """Points that are drawn instead of listed: the same for every arm, and the same whenever the file is read."""

    draws: int = Field(gt=0, le=1000)
    """How many points."""

    seed: int = Field(0, ge=0)
    """Seed of the draws; the runs' own seeds are `seeds`."""

    of: dict[str, Values | Range] = Field(min_length=1)
    """Dotted key -> the values to draw from, or a range."""


class Arm(Section):
    """One of the methods that are compared."""

    recipe: str | None = None
    """The recipe, beside the sweep file or NAME:PATH of a library; null for the sweep's."""

    set: dict[str, Any] = Field(default_factory=dict)
    """Dotted key -> value, of this arm."""

    grid: Grid | None = None
    """Dotted key -> values, in place of the sweep's `grid`, as beta means another thing for each loss."""


class Sweep(Section):
    """Many runs: every arm with every point of its grid and every seed."""

    recipe: str
    """The recipe that the runs are of, beside the sweep file or NAME:PATH of a library."""

    arms: dict[str, Arm] = Field(default_factory=lambda: {"recipe": Arm()}, min_length=1)
    """Name -> method; the first one is what the others are compared with. One arm, the recipe itself, by default."""

    set: dict[str, Any] = Field(default_factory=dict)
    """Dotted key -> value, of all runs."""

    grid: Grid = Field(default_factory=dict)
    """Dotted key -> values; all combinations are run."""

    random: Random | None = None
    """Points that are drawn; with a grid, each of them with every point of it."""

    seeds: list[int] | None = Field(None, min_length=1)
    """Values of the recipes' `seed`: every point is run with each; null for the one that the recipe has."""

    report: list[str] | None = Field(None, min_length=1)
    """The measures of `eval.json` that the table shows; null for all that a run's own table shows."""

    claims: list[Claim] = Field(default_factory=list)
    """What a paper says of these arms; each is tested at the end."""

    keep: Keep = "final"
    """What stays of a finished run besides its records: `all`, the `final` model without checkpoints, or `none`."""

    @field_validator("seeds")
    @classmethod
    def _are_different(cls, seeds: list[int] | None) -> list[int] | None:
        if seeds is not None and len({*seeds}) < len(seeds):
            raise PydanticCustomError("twice", "the same seed twice is the same run twice")
        return seeds


def sweep_schema() -> dict[str, Any]:
    """JSON Schema of sweep files, for editors."""
    found = Sweep.model_json_schema()
    found["properties"]["$schema"] = {"type": "string"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
