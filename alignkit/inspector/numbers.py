"""The numbers of all tokens for the page's script, 16 bits each: as text they would be three times as long."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alignkit.inspector.cards import (
    ADVANTAGE,
    AFTER,
    CHANGE,
    COLUMNS,
    LOGP,
    SAME,
    SIGNED,
    WEIGHT,
    WEIGHT_BEFORE,
    Card,
    Pane,
    ordered,
)
from alignkit.lazy import numpy as np

if TYPE_CHECKING:
    from numpy import ndarray

STEPS = 32_000
"""Of the largest number of a column in a response; the error of one is at most half a step."""

SILENT = 5e-5
"""Size below which all numbers of a column are shown as 0."""

NOTHING = -32_768
"""Stands for a number that is not known."""

REACH = 0.98
"""Share of the numbers that a scale of colours tells apart; what lies beyond has its last colour."""


WEIGHTS = frozenset({WEIGHT, WEIGHT_BEFORE, "gradient part", "prior part"})
LEAST = 2.0
"""Columns whose mean is 1 in each response, and where their scale ends at least: twice that."""


def reach(cards: Iterable[Card], name: str) -> float:
    """Where the scale of colours of a column ends; 0 where there is nothing to tell apart."""
    columns = [pane.columns[name] for card in cards for pane in card.panes if name in pane.columns]
    together = np.abs(np.concatenate(columns)) if columns else np.zeros(0)
    together = together[np.isfinite(together)]
    if name not in WEIGHTS:
        return float(np.quantile(together, REACH)) if len(together) else 0.0
    varies = any(np.ptp(values) > SAME for values in columns)
    return max(float(np.quantile(together, REACH)), LEAST) if varies else 0.0


def first_shown(cards: Sequence[Card]) -> str:
    """The column that a page begins with: the weights where they vary, else what says most; empty without any."""
    there = {name for card in cards for pane in card.panes for name in pane.columns}
    order = [name for name in (WEIGHT, ADVANTAGE, CHANGE, LOGP) if name in there and reach(cards, name) > 0]
    return next(iter(order), "")


def payload(cards: Sequence[Card]) -> dict[str, Any]:
    """What the script reads."""
    names = [*ordered({name: np.zeros(0) for card in cards for pane in card.panes for name in pane.columns})]
    vocabulary: dict[int, int] = {}
    packed = [_card(card, names, vocabulary) for card in cards]
    columns = [
        {"name": name, "about": COLUMNS.get(name, "a part of the weight, on its scale"), "signed": name in SIGNED}
        | {"top": _short(reach(cards, name))}
        for name in names
    ]
    return {"show": first_shown(cards), "columns": columns, "ids": [*vocabulary], "cards": packed}


def _card(card: Card, names: Sequence[str], vocabulary: dict[int, int]) -> dict[str, Any]:
    found = {
        "key": card.key,
        "source": card.source,
        "before": _short(card.before),
        "after": _short(card.after),
        "ess": _short(card.ess),
        "rank": _short(card.decisive_rank),
        "cut": len(card.cut),
        "tokens": sum(len(pane.tokens) for pane in card.panes),
        "panes": [_pane(pane, names, vocabulary) for pane in card.panes],
    }
    return {key: value for key, value in found.items() if value is not None}


def _pane(pane: Pane, names: Sequence[str], vocabulary: dict[int, int]) -> dict[str, Any]:
    """Columns by their number, each with its scale; ids by their place in the page's vocabulary.

    What is 0 everywhere is said so, and the script adds up the log-ratio after training.
    """
    places = np.array([vocabulary.setdefault(token, len(vocabulary)) for token in pane.ids], dtype="<u4")
    kept = {name: values for name, values in pane.columns.items() if not (name == AFTER and CHANGE in pane.columns)}
    silent = [name for name, values in kept.items() if (np.abs(values) < SILENT).all()]
    full = {name: values for name, values in kept.items() if name not in silent}
    scaled = [_scaled(values) for values in full.values()]
    packed = {
        "z": [names.index(name) for name in silent],
        "c": [names.index(name) for name in full],
        "s": [scale for _, scale in scaled],
        "d": _base64(np.concatenate([steps for steps, _ in scaled])) if scaled else "",
        "i": _base64(places.astype("<u2") if len(vocabulary) < 2**16 else places),
    }
    forms: Mapping[str, str] = {str(place): form for place, form in pane.forms.items()}
    return packed | ({"f": forms} if forms else {}) | ({"w": 4} if len(vocabulary) >= 2**16 else {})


def _scaled(values: ndarray) -> tuple[ndarray, float]:
    """Whole steps, and what one of them is."""
    finite = np.isfinite(values)
    largest = float(np.abs(values[finite]).max(initial=0.0))
    scale = float(f"{largest / STEPS:.6g}") or 1.0
    steps = np.where(finite, np.round(np.where(finite, values, 0.0) / scale), NOTHING)
    return steps.clip(NOTHING, -NOTHING - 1).astype("<i2"), scale


def _base64(values: ndarray) -> str:
    return b64encode(values.tobytes()).decode()


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
