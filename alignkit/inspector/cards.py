"""What a page shows of one row: its prompt, and its responses as tokens with their numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from alignkit.evaluation.records import Moment
from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray

WEIGHT, WEIGHT_BEFORE = "weight", "weight before"
LOGP, BEFORE, AFTER, CHANGE = "log-prob", "log-ratio before", "log-ratio after", "change of log-prob"
KL, ENTROPY, ADVANTAGE = "KL to reference", "entropy", "advantage"

COLUMNS: Mapping[str, str] = {
    WEIGHT: "token weight; 1 is the mean of a response",
    WEIGHT_BEFORE: "the same before training",
    "gradient part": "what the weight is mixed from, on its scale",
    "prior part": "what the weight is mixed from, on its scale",
    BEFORE: "log-prob under the policy minus log-prob under the reference, before training, nats",
    AFTER: "the same after training, nats",
    CHANGE: "log-prob under the policy after training minus before it, nats",
    LOGP: "log-prob under the policy, the latest, nats",
    KL: "KL(policy to reference) over the whole vocabulary at this place, the latest, nats",
    ENTROPY: "entropy of the policy's next-token distribution at this place, the latest, nats",
    ADVANTAGE: "how much likelier the token should become",
}
"""What there may be of each token, in the order of the page."""

SIGNED = frozenset({BEFORE, AFTER, CHANGE, LOGP, ADVANTAGE})
"""Columns whose sign matters."""

SAME = 1e-4
"""Difference of two weights that is rounding."""


@dataclass(frozen=True)
class Pane:
    """One response.

    Attributes:
        name: `chosen`, `rejected`, `completion`, `gold`, `anchor`, or the number of a sample.
        tokens: the characters of each token.
        ids: their ids; empty in records that have none.
        forms: place -> what the vocabulary calls a token that is a part of a character.
        columns: name of `COLUMNS` -> one number per token, NaN where it is not known.
        critical: whether each token is a planted one; None where nothing is planted.
        notes: what else is known of it, a few words each.
    """

    name: str
    tokens: Sequence[str]
    ids: Sequence[int] = ()
    forms: Mapping[int, str] = field(default_factory=dict)
    columns: Mapping[str, ndarray] = field(default_factory=dict)
    critical: ndarray | None = None
    notes: Sequence[str] = ()

    @property
    def kind(self) -> str:
        """Its name; all samples are of one kind."""
        return "samples" if self.name.startswith("sample ") else self.name

    @property
    def weights(self) -> ndarray | None:
        """[T], or None where nothing is weighed."""
        return self.columns.get(WEIGHT)

    @property
    def ess(self) -> float:
        """Effective sample size of the weights as a share of the tokens; NaN without weights."""
        weights = self.weights
        if weights is None or not np.square(weights).sum() > 0:
            return math.nan
        return float(weights.sum() ** 2 / np.square(weights).sum() / len(weights))

    @property
    def decisive_rank(self) -> float:
        """Rank of the heaviest planted token among the weights, from 1; NaN where nothing is planted or weighed."""
        if self.weights is None or self.critical is None or not self.critical.any() or np.ptp(self.weights) <= SAME:
            return math.nan
        return float(1 + (self.weights > self.weights[self.critical].max()).sum())


@dataclass(frozen=True)
class Card:
    """One row, or one group of sampled responses.

    Attributes:
        key: what names it on the page and in its address.
        where: its place in the data.
        source: the file or data set that it is of.
        prompt: as text.
        panes: its responses.
        before: margin of log-ratios (without a reference of log-probs) before training, nats; NaN where there is none.
        after: the same after training.
        cut: what was cut to fit, or by the end of a sample.
        asides: title -> text of further responses, whose tokens are not known.
        label: of a labelled response, whether it is desirable.
    """

    key: str
    where: str
    source: str
    prompt: str
    panes: Sequence[Pane]
    before: float = math.nan
    after: float = math.nan
    cut: Sequence[str] = ()
    asides: Mapping[str, str] = field(default_factory=dict)
    label: bool | None = None

    @property
    def latest(self) -> float:
        """The margin after training, or before it."""
        return self.before if math.isnan(self.after) else self.after

    @property
    def ess(self) -> float:
        """The least of its responses; NaN without weights."""
        known = [pane.ess for pane in self.panes if not math.isnan(pane.ess)]
        return min(known, default=math.nan)

    @property
    def decisive_rank(self) -> float:
        """The worst of its responses; NaN where nothing is planted."""
        known = [pane.decisive_rank for pane in self.panes if not math.isnan(pane.decisive_rank)]
        return max(known, default=math.nan)


def cards_of_rows(
    tokens: Mapping[Moment, Sequence[Mapping[str, Any]]], samples: Mapping[Moment, Sequence[Mapping[str, Any]]]
) -> list[Card]:
    """Cards of held-out rows.

    Args:
        tokens: moment (`before`, `after`) -> lines of `token_rows.jsonl`.
        samples: the same of `samples.jsonl`.
    """
    old = {line["row"]: line for line in tokens.get("before", ())}
    new = {line["row"]: line for line in tokens.get("after", ())}
    said = {moment: {line["row"]: line.get("response") for line in lines} for moment, lines in samples.items()}
    return [_card(row, old.get(row), new.get(row), said) for row in sorted(old.keys() | new.keys())]


def _card(
    row: int,
    old: Mapping[str, Any] | None,
    new: Mapping[str, Any] | None,
    said: Mapping[Moment, Mapping[int, str | None]],
) -> Card:
    line = old if new is None else new
    assert line is not None
    panes = [
        _pane(name, *(None if one is None else one["responses"].get(name) for one in (old, new)))
        for name in line["responses"]
    ]
    answers = {f"sampled {moment} training": texts.get(row) for moment, texts in said.items()}
    return Card(
        key=f"r{row}",
        where=line["where"],
        source=source_of(line["where"]),
        prompt=line["prompt"],
        panes=panes,
        before=_margin(panes, BEFORE, old),
        after=_margin(panes, AFTER, new),
        cut=line["cut"],
        asides={title: text for title, text in answers.items() if text},
        label=line.get("label"),
    )


def _pane(name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Pane:
    latest = old if new is None else new
    assert latest is not None
    if old is not None and old["ids"] != latest["ids"]:
        old = None  # an anchor drawn anew, another tokenizer, another row: nothing to compare with
    columns = _latest_columns(latest)
    before, after = (None if line is None else _array(line.get("logp")) for line in (old, new))
    reference = _array(latest.get("reference"))
    if old is not None and new is not None and WEIGHT in columns:
        earlier = _array(old.get("weight"))
        if earlier is not None and np.abs(earlier - columns[WEIGHT]).max(initial=0) > SAME:
            columns[WEIGHT_BEFORE] = earlier
    if reference is not None:
        columns |= {BEFORE: before - reference} if before is not None else {}
        columns |= {AFTER: after - reference} if after is not None else {}
    if before is not None and after is not None:
        columns[CHANGE] = after - before
    critical = np.array(latest["critical"], dtype=bool) if "critical" in latest else None
    forms = {int(place): form for place, form in latest["forms"].items()}
    return Pane(name, latest["tokens"], latest["ids"], forms, ordered(columns), critical)


def _latest_columns(line: Mapping[str, Any]) -> dict[str, ndarray]:
    named = {"weight": WEIGHT, "logp": LOGP, "kl": KL, "entropy": ENTROPY}
    named |= {key: f"{key.removeprefix('part/')} part" for key in line if key.startswith("part/")}
    found = {title: _array(line.get(key)) for key, title in named.items()}
    return {title: values for title, values in found.items() if values is not None}


def _margin(panes: Sequence[Pane], column: str, line: Mapping[str, Any] | None) -> float:
    """Chosen minus rejected, summed over tokens; NaN where it is no pair."""
    sums = {}
    for pane in panes:
        if column in pane.columns:
            sums[pane.name] = float(pane.columns[column].sum())
        elif line is not None and "logp" in line["responses"].get(pane.name, {}):
            sums[pane.name] = math.fsum(value or 0.0 for value in line["responses"][pane.name]["logp"])
    return sums.get("chosen", math.nan) - sums.get("rejected", math.nan)


def cards_of_samples(lines: Iterable[Mapping[str, Any]]) -> Iterator[Card]:
    """Cards of groups of sampled responses, of the lines of `samples/step_N.jsonl`."""
    for number, (_, group) in enumerate(groupby(lines, key=lambda one: (one["step"], one["where"], one["prompt"]))):
        samples = list(group)
        first = samples[0]
        cut = [f"sample {place}" for place, one in enumerate(samples, 1) if not one["finished"]]
        yield Card(
            key=f"s{first['step']}.{number}",
            where=f"{first['where']}, step {first['step']}",
            source=source_of(first["where"]),
            prompt=first["prompt"],
            panes=[_sample(place, one) for place, one in enumerate(samples, 1)],
            cut=cut,
        )


def _sample(place: int, line: Mapping[str, Any]) -> Pane:
    length = len(line["tokens"])
    advantages = line.get("advantages") or ([line["advantage"]] * length if line["advantage"] is not None else None)
    found = {WEIGHT: _array(line["weights"]), ADVANTAGE: _array(advantages), LOGP: _array(line.get("logp"))}
    scores = [f"{name} {_said(score)}" for name, score in line["rewards"].items()]
    notes = [f"reward {_said(line['reward'])}", *(scores if len(scores) > 1 else ())]
    notes.append("not trained on" if line["advantage"] is None else f"advantage {line['advantage']:+.3g}")
    columns = {title: values for title, values in found.items() if values is not None and len(values) == length}
    return Pane(f"sample {place}", line["tokens"], line.get("ids", ()), {}, ordered(columns), None, notes)


def ordered(columns: Mapping[str, ndarray]) -> dict[str, ndarray]:
    """The columns in the order of the page, those of plugins after them."""
    return {name: columns[name] for name in [*COLUMNS, *columns] if name in columns}


def source_of(where: str) -> str:
    """`hh.jsonl` of `data/hh.jsonl:12`, `org/set` of `org/set:row 3`."""
    start, colon, end = where.rpartition(":")
    name = start if colon and end.removeprefix("row ").isdigit() else where
    if name == where:
        name = where.rpartition(" row ")[0] or where
    return name.rpartition("/")[2] if "." in name.rpartition("/")[2] else name


def _array(values: Sequence[float | None] | None) -> ndarray | None:
    return None if values is None else np.array([math.nan if v is None else v for v in values], dtype=float)


def _said(value: float | None) -> str:
    return "not scored" if value is None else f"{value:.4g}"
