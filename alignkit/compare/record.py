"""What a comparison gives: the structure of `alignkit compare --json`."""

from __future__ import annotations

from typing import Literal

from alignkit.evaluation.base import Better
from alignkit.records.files import Record

Over = Literal["items", "seeds and items"]
"""What is drawn by chance in a difference, as far as it is in the interval."""


class Compared(Record):
    """One method, as it was given."""

    name: str
    folders: list[str]
    seeds: list[int | None]


class Line(Record):
    """One measure of two methods. A number that is not known is null."""

    base: str
    """The method that is compared with."""

    other: str
    """The method that is compared."""

    measure: str
    """Key of `eval.json`, or BENCHMARK/METRIC."""

    label: str
    """What a report calls it."""

    item_set: str
    """`held-out rows`, `sampled responses` or the benchmark."""

    better: Better | None
    """Which direction is better; null where that cannot be said."""

    is_share: bool
    """Whether it is a share of items, whose differences are told in points."""

    digits: int
    """After the point, of one that is no share."""

    items: int
    """How many were paired."""

    clusters: int
    """How many prompts, or other clusters, they have."""

    base_value: float | None
    """Mean over these items, and seeds."""

    other_value: float | None
    """The same of the other."""

    difference: float | None
    """other - base."""

    se: float | None
    """Its standard error."""

    low: float | None
    """Lower end of its interval."""

    high: float | None
    """Upper end."""

    df: float | None
    """Degrees of freedom of t."""

    over: Over
    """What the interval is over."""

    test: Literal["mcnemar", "t"]
    """What gave `p`: McNemar's exact test of a 0/1 score on items of different clusters, else t."""

    p: float | None
    """Two-sided, of this line alone."""

    p_holm: float | None
    """Corrected for all lines."""

    p_mcnemar: float | None
    """McNemar's exact test of any 0/1 score of two runs, as if all items were independent."""

    only_base: int | None
    """Items of a 0/1 score that the base alone has right."""

    only_other: int | None
    """Items that the other alone has right."""

    smallest_visible: float | None
    """The smallest true difference that `power` of such comparisons would have seen, this line alone."""

    sentence: str
    """What it means."""


class Comparison(Record):
    """All of it."""

    version: Literal[1] = 1
    """Of this structure; keys may be added to it, none taken away."""

    moment: Literal["before", "after"]
    """Of runs; folders of `alignkit evaluate` have one only."""

    level: float
    """Of intervals; 1 - level is what p-values are held against."""

    power: float
    """Of `smallest_visible`."""

    family: int
    """How many p-values Holm's correction counts."""

    methods: list[Compared]
    """The first is the base of all."""

    lines: list[Line]
    notes: list[str]
