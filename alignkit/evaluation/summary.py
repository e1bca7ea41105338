"""From what was measured of each row and sample to the numbers of `eval.json`, with standard errors.

Before and after training the same rows are measured, and the same prompts answered, so the error of a change is that
of the rows' own changes: what rows have in common, such as that all of them tie before training, is no noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alignkit.engine.metrics import TIE

Measures = Sequence[Mapping[str, Any]]
"""One mapping per row or sample, in the order of the rows: `row`, its place among them, and name -> value."""

SCORES = (
    ("preference_accuracy", "margin"),
    ("ranking_accuracy", "ranking"),
    ("weighted_preference_accuracy", "weighted_margin"),
)
"""Accuracies, and the difference of two responses that a pair scores 1, 1/2 or 0 for."""

MEANS = ("margin", "weighted_margin", "weight_auc", "kl", "true_reward", "sample_tokens")
"""Measures that are averaged as they are."""

AUCS = (("reward_auc", "logratio"), ("weighted_reward_auc", "weighted_logratio"))
"""Chance that a desirable response has the larger value, and that value."""


def summarised(rows: Measures, samples: Measures) -> dict[str, float]:
    """Names of `eval.json` -> value; `NAME_se` is its standard error. Nothing where nothing was measured."""
    summary: dict[str, float] = {}
    if rows:
        is_labelled = "desirable" in rows[0]
        summary["responses" if is_labelled else "pairs"] = float(len(rows))
        if wanted := _wanted(rows):
            summary["nll"] = _per_token(wanted)
            summary["nll_se"] = _per_token_error(wanted, summary["nll"])
    if samples and samples[0].keys() & set(MEANS):
        summary["samples"] = float(len(samples))
    for name, values in (_means(rows) | _means(samples)).items():
        summary[name], summary[f"{name}_se"] = mean(values), standard_error(values)
    if "weight_auc" in summary:
        summary["weight_auc_rows"] = float(sum("weight_auc" in row for row in rows))
    for name, value in AUCS:
        if _has_auc(rows, value):
            ups, downs = placements(rows, value)
            summary[name], summary[f"{name}_se"] = mean(ups), _placement_error(ups, downs)
    return summary


def changes(before: Sequence[Measures], after: Sequence[Measures]) -> dict[str, float]:
    """Name -> after - before, and `NAME_se` -> the standard error of that difference, paired by row.

    Args:
        before: the rows' measures, then the samples'.
        after: the same of the same rows; where the rows differ, nothing can be paired and nothing is said.
    """
    found: dict[str, float] = {}
    for old, new in zip(before, after, strict=True):
        if old and [one["row"] for one in old] == [one["row"] for one in new]:
            found |= _paired(old, new)
    return found


def _paired(before: Measures, after: Measures) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, of_row in _readers():
        couples = [(of_row(old), of_row(new)) for old, new in zip(before, after, strict=True)]
        differences = [new - old for old, new in couples if old is not None and new is not None]
        if differences:
            found[name], found[f"{name}_se"] = mean(differences), standard_error(differences)
    if (old := _wanted(before)) and "nll" in old[0]:
        moved = [{**a, "nll": a["nll"] - b["nll"]} for b, a in zip(old, _wanted(after), strict=True)]
        found["nll"] = _per_token(moved)
        found["nll_se"] = _per_token_error(moved, found["nll"])
    for name, value in AUCS:
        if _has_auc(before, value) and _has_auc(after, value):
            old_ups, old_downs = placements(before, value)
            ups, downs = placements(after, value)
            ups = [new - old for old, new in zip(old_ups, ups, strict=True)]
            downs = [new - old for old, new in zip(old_downs, downs, strict=True)]
            found[name], found[f"{name}_se"] = mean(ups), _placement_error(ups, downs)
    return found


# --- means ---


def _readers() -> list[tuple[str, Callable[[Mapping[str, Any]], float | None]]]:
    """Each measure that is a mean over rows, and its value of one row; None where the row has none."""
    readers: list[tuple[str, Callable[[Mapping[str, Any]], float | None]]] = []
    for name, difference in SCORES:
        readers.append((name, lambda row, key=difference: _score(row[key]) if key in row else None))  # type: ignore[misc]
    for name in MEANS:
        readers.append((name, lambda row, key=name: row.get(key)))  # type: ignore[misc]
    return readers


def _means(measures: Measures) -> dict[str, list[float]]:
    found = {name: [v for v in map(of_row, measures) if v is not None] for name, of_row in _readers()}
    return {name: values for name, values in found.items() if values}


def _score(difference: float) -> float:
    """1, 1/2 or 0: above, equal up to rounding, below; NaN stays what it is."""
    return difference if math.isnan(difference) else (1 + (difference > TIE) - (difference < -TIE)) / 2


def mean(values: Sequence[float]) -> float:
    """NaN of nothing."""
    return sum(values) / len(values) if values else math.nan


def standard_error(values: Sequence[float]) -> float:
    """Of their mean; NaN of fewer than two."""
    if len(values) < 2:
        return math.nan
    middle = mean(values)
    return math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1) / len(values))


# --- negative log-prob per token ---


def _wanted(rows: Measures) -> Measures:
    """All but undesirable responses: nobody wants those to be likely."""
    return [row for row in rows if row.get("desirable", True) and "nll" in row]


def _per_token(rows: Measures) -> float:
    return float(sum(row["nll"] for row in rows) / sum(row["tokens"] for row in rows))


def _per_token_error(rows: Measures, ratio: float) -> float:
    """Of a ratio of two sums over rows (delta method)."""
    if len(rows) < 2:
        return math.nan
    spread = sum((row["nll"] - ratio * row["tokens"]) ** 2 for row in rows)
    return math.sqrt(len(rows) / (len(rows) - 1) * spread) / float(sum(row["tokens"] for row in rows))


# --- desirable against undesirable responses ---


def _has_auc(rows: Measures, value: str) -> bool:
    return bool(rows) and value in rows[0] and len({bool(row["desirable"]) for row in rows}) == 2


def placements(rows: Measures, value: str) -> tuple[list[float], list[float]]:
    """Of each desirable response the share of undesirable ones that it leads, of each undesirable one the share of
    desirable ones that lead it; a tie counts one half. The mean of either is the AUC."""
    up, down = ([row[value] for row in rows if bool(row["desirable"]) is kind] for kind in (True, False))
    ups = [mean([_score(one - other) for other in down]) for one in up]
    return ups, [mean([_score(one - other) for one in up]) for other in down]


def _placement_error(ups: Sequence[float], downs: Sequence[float]) -> float:
    """Standard error of the AUC, or of its change (DeLong, DeLong and Clarke-Pearson 1988); NaN with one of a kind."""
    return math.hypot(standard_error(ups), standard_error(downs))
