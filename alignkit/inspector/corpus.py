"""Where token weights lie over all rows that are shown: their spread by source, place, kind of token, and effect."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit import world
from alignkit.inspector.cards import CHANGE, WEIGHT, Card, Pane
from alignkit.inspector.tables import Cells, known_table, mean
from alignkit.inspector.words import KINDS, kind_of
from alignkit.lazy import numpy as np
from alignkit.lazy import scipy_stats
from alignkit.page import Element, Series, element, histogram, lines, table

if TYPE_CHECKING:
    from numpy import ndarray

PAPER: Mapping[str, tuple[float, float, float]] = {
    "GSM8K": (0.22, 0.33, 0.45),
    "GPQA": (0.18, 0.28, 0.42),
    "TruthfulQA": (0.70, 0.75, 0.85),
    "IFEval": (0.68, 0.75, 0.85),
    "MMLU": (0.30, 0.50, 0.70),
    "HumanEval": (0.48, 0.60, 0.70),
}
"""Quartiles of TI-DPO's weights by task (arXiv:2505.19653, Table B1)."""

TOP = 0.1
"""Share of the tokens that is called the heaviest."""

GROUPS = 10
"""Groups of equal size that tokens are put into by their weight."""

MOST_SOURCES = 6
"""Sources drawn apart; those with fewest tokens are drawn together."""


@dataclass(frozen=True)
class Weighed:
    """A response with weights that differ."""

    source: str
    pane: Pane
    weights: ndarray


def weighed(cards: Iterable[Card]) -> list[Weighed]:
    """The responses whose tokens weigh differently, by source."""
    found = [
        Weighed(card.source, pane, pane.columns[WEIGHT])
        for card in cards
        for pane in card.panes
        if WEIGHT in pane.columns
    ]
    return [one for one in found if len(one.weights) > 1 and np.ptp(one.weights) > 1e-6]


def corpus_section(cards: Sequence[Card]) -> list[Element]:
    """The part of the page on weights over all rows; one sentence where all tokens weigh the same."""
    all_weighed = weighed(cards)
    if not all_weighed:
        return [element("p", "Every token of a response has the same weight, so there is no spread to show.")]
    return [
        element("div", _spread(all_weighed), *_effect(all_weighed), class_="charts"),
        _by_source(all_weighed),
        element("div", _by_kind(all_weighed), _paper(), class_="charts"),
    ]


def _spread(all_weighed: Sequence[Weighed]) -> Element:
    groups: dict[str, list[float]] = {}
    for one in all_weighed:
        groups.setdefault(one.source, []).extend(one.weights.tolist())
    kept = dict(sorted(groups.items(), key=lambda item: -len(item[1]))[:MOST_SOURCES])
    rest = [value for source, values in groups.items() if source not in kept for value in values]
    everything = [value for values in groups.values() for value in values]
    high = max(2.0, float(np.quantile(everything, 0.97)))
    caption = "Weights by source; the last bar holds all above"
    drawn = kept | ({"others": rest} if rest else {})
    return histogram(drawn, "token weight", bins=24, x_limits=(0.0, high), caption=caption, width=480)


def _effect(all_weighed: Sequence[Weighed]) -> Iterator[Element]:
    """Change of log-prob by weight, of each kind of response."""
    series = []
    for name in dict.fromkeys(one.pane.kind for one in all_weighed):
        of_name = [one for one in all_weighed if one.pane.kind == name and CHANGE in one.pane.columns]
        if of_name:
            weights = np.concatenate([one.weights for one in of_name])
            changes = np.concatenate([one.pane.columns[CHANGE] for one in of_name])
            series.append(_grouped(name, weights, changes))
    if series:
        caption = "Change of log-prob by weight, means of ten groups of tokens \u00b1 standard error"
        yield lines(series, "token weight", "change, nats", caption=caption, width=480)


def _grouped(name: str, weights: ndarray, changes: ndarray) -> Series:
    parts = np.array_split(np.argsort(weights, kind="stable"), min(GROUPS, len(weights)))
    x = [float(weights[part].mean()) for part in parts]
    y = [float(changes[part].mean()) for part in parts]
    errors = [float(changes[part].std(ddof=1) / math.sqrt(len(part))) if len(part) > 1 else 0.0 for part in parts]
    low, high = ([m + sign * e for m, e in zip(y, errors, strict=True)] for sign in (-1, 1))
    return Series(name, x, y, low, high, markers=True)


def _by_source(all_weighed: Sequence[Weighed]) -> Element:
    head = ["source", "response", "responses", "tokens", "Q1", "median", "Q3", "rank correlation with position", "ESS"]
    head += [
        "weight on the heaviest 10 %",
        "rank correlation with size of change",
        "on planted tokens",
        "AUC, planted tokens",
    ]
    groups: dict[tuple[str, str], list[Weighed]] = {}
    for one in all_weighed:
        groups.setdefault((one.source, one.pane.kind), []).append(one)
    rows: list[Cells] = [[source, kind, *_numbers(group)] for (source, kind), group in groups.items()]
    return known_table(head, rows, "Weights by source and response")


def _numbers(group: Sequence[Weighed]) -> list[float]:
    together = np.concatenate([one.weights for one in group])
    quartiles = np.quantile(together, (0.25, 0.5, 0.75)).tolist()
    places = [_correlation(one.weights, np.arange(len(one.weights))) for one in group]
    heaviest = [_share_of_top(one.weights) for one in group]
    effects = [
        _correlation(one.weights, np.abs(one.pane.columns[CHANGE])) for one in group if CHANGE in one.pane.columns
    ]
    planted = [(one.weights, one.pane.critical) for one in group if one.pane.critical is not None]
    masses = [float(w[c].sum() / w.sum()) for w, c in planted if c.any()]
    auc = world.weight_auc([w for w, _ in planted], [c for _, c in planted]) if planted else None
    ess = [one.pane.ess for one in group]
    numbers = [
        float(len(group)),
        float(len(together)),
        *quartiles,
        *map(mean, (places, ess, heaviest, effects, masses)),
    ]
    return [*numbers, math.nan if auc is None else auc]


def _correlation(one: ndarray, other: ndarray) -> float:
    """Rank correlation; NaN where one of them does not vary."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(scipy_stats.spearmanr(one, other).statistic)


def _share_of_top(weights: ndarray) -> float:
    count = max(1, round(TOP * len(weights)))
    return float(np.sort(weights)[-count:].sum() / weights.sum())


def _by_kind(all_weighed: Sequence[Weighed]) -> Element:
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for one in all_weighed:
        changes = one.pane.columns.get(CHANGE, np.full(len(one.weights), math.nan))
        for place, (weight, change) in enumerate(zip(one.weights.tolist(), changes.tolist(), strict=True)):
            found[kind_of(one.pane.tokens, place)].append((weight, change))
    rows: list[Cells] = [
        [kind, float(len(pairs)), mean([w for w, _ in pairs]), mean([c for _, c in pairs])]
        for kind, pairs in found.items()
        if pairs
    ]
    head = ["kind of token", "tokens", "mean weight", "mean change of log-prob, nats"]
    return known_table(head, rows, "Weights by kind of token")


def _paper() -> Element:
    said = "The paper does not say on which scale they are; ours have mean 1 in each response, so compare their order."
    rows: list[Cells] = [[task, *quartiles] for task, quartiles in PAPER.items()]
    caption = "TI-DPO's quartiles by task (arXiv:2505.19653, Table B1)"
    return element("div", table(["task", "Q1", "median", "Q3"], rows, caption, 2), element("p", said, class_="soft"))
