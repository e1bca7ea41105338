"""The safety audit: what words of danger and care weigh, and how training moved them.

TI-DPO's case study is of this kind: "medical attention" should weigh much in a good response, "painkillers" in a bad
one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.errors import AlignkitError
from alignkit.inspector.cards import AFTER, BEFORE, CHANGE, WEIGHT, Card, Pane
from alignkit.inspector.pairs import drawn_line
from alignkit.inspector.tables import known_table, mean
from alignkit.lazy import numpy as np
from alignkit.page import Child, Element, element

if TYPE_CHECKING:
    from numpy import ndarray

MOST_ROWS = 120
"""Rows of the table of single occurrences."""

AROUND = 32
"""Characters shown on each side of a term."""


class LexiconError(AlignkitError, ValueError):
    """A lexicon cannot be read or holds no term."""


@dataclass(frozen=True)
class Lexicon:
    """Terms to look for.

    Attributes:
        name: what it is called on the page.
        terms: words and phrases in lower case.
    """

    name: str
    terms: tuple[str, ...]

    @classmethod
    def read(cls, path: Path | None) -> Lexicon:
        """The terms of a file, one a line, lines with # left out; alignkit's own without a file.

        Raises:
            LexiconError: it cannot be read or holds no term.
        """
        if path is None:
            text, name = files(__package__).joinpath("lexicon.txt").read_text(encoding="utf-8"), "alignkit's own"
        else:
            try:
                text, name = path.read_text(encoding="utf-8"), path.name
            except (OSError, ValueError) as error:
                said = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
                raise LexiconError(
                    f"--lexicon: {path}: cannot be read: {said}; give a text file, one term a line"
                ) from None
        terms = [" ".join(line.lower().split()) for line in text.splitlines() if not line.startswith("#")]
        found = tuple(dict.fromkeys(filter(None, terms)))
        if not found:
            raise LexiconError(f"--lexicon: {path}: holds no term; give one a line")
        return cls(name, found)

    @property
    def pattern(self) -> re.Pattern[str]:
        """Finds any of them as whole words, the longest first."""
        escaped = (re.escape(term).replace(r"\ ", r"\s+") for term in sorted(self.terms, key=len, reverse=True))
        return re.compile(rf"(?<!\w)(?:{'|'.join(escaped)})(?!\w)", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """A term in a response."""

    term: str
    card: Card
    pane: Pane
    text: str
    first: int
    last: int
    tokens: ndarray

    def mean(self, column: str) -> float:
        """Over its tokens; NaN where it is not known."""
        return float(self.pane.columns[column][self.tokens].mean()) if column in self.pane.columns else math.nan

    def total(self, column: str) -> float:
        """Over its tokens; NaN where it is not known."""
        return float(self.pane.columns[column][self.tokens].sum()) if column in self.pane.columns else math.nan

    @property
    def around(self) -> Element:
        """The term where it stands."""
        before, after = self.text[max(0, self.first - AROUND) : self.first], self.text[self.last : self.last + AROUND]
        said = [drawn_line(part) for part in (before, self.text[self.first : self.last], after)]
        return element("span", said[0], element("b", said[1]), said[2], dir="auto")


def find(cards: Sequence[Card], lexicon: Lexicon) -> Iterator[Found]:
    """Every term of the lexicon in every response."""
    pattern = lexicon.pattern
    for card in cards:
        for pane in card.panes:
            text = "".join(pane.tokens)
            ends = np.array([*accumulate(map(len, pane.tokens))])
            starts = ends - np.array([*map(len, pane.tokens)])
            for match in pattern.finditer(text):
                inside = np.flatnonzero((starts < match.end()) & (ends > match.start()))
                term = " ".join(match[0].lower().split())
                yield Found(term, card, pane, text, match.start(), match.end(), inside)


def audit_section(cards: Sequence[Card], lexicon: Lexicon) -> list[Element]:
    """The part of the page on terms of the lexicon."""
    found = list(find(cards, lexicon))
    intro = (
        f"Lexicon: {lexicon.name}, {len(lexicon.terms)} terms; found {len(found)} times in {len(cards)} rows. Weights "
        "are means over a term's tokens, changes of log-prob their sums, in nats: above 0 training made it likelier."
    )
    if not found:
        return [element("p", intro)]
    return [element("p", intro), _by_term(cards, found), _single(found)]


def _by_term(cards: Sequence[Card], found: Sequence[Found]) -> Element:
    names = [*dict.fromkeys(pane.kind for card in cards for pane in card.panes)]
    head: list[str] = ["term", *(f"{what}, {name}" for name in names for what in ("times", "weight", "change"))]
    rows: list[list[Child | float]] = []
    for term in sorted({one.term for one in found}, key=lambda term: (-sum(o.term == term for o in found), term)):
        row: list[Child | float] = [term]
        for name in names:
            some = [one for one in found if one.term == term and one.pane.kind == name]
            row += [float(len(some)), mean([o.mean(WEIGHT) for o in some]), mean([o.total(CHANGE) for o in some])]
        rows.append(row)
    return known_table(head, rows, "By term")


def _single(found: Sequence[Found]) -> Element:
    order = sorted(found, key=lambda one: -np.nan_to_num(one.mean(WEIGHT), nan=-1.0))[:MOST_ROWS]
    head = ["where", "response", "term", "weight", "log-ratio before", "log-ratio after", "change of log-prob"]
    rows: list[list[Child | float]] = []
    for one in order:
        link = element("a", one.card.key, href=f"#{one.card.key}")
        rows.append([link, one.pane.name, one.around, one.mean(WEIGHT), *map(one.total, (BEFORE, AFTER, CHANGE))])
    left = f"; the other {len(found) - len(order)} weigh less" if len(found) > len(order) else ""
    shown = known_table(head, rows, f"Heaviest first{left}")
    return element("details", element("summary", "every occurrence"), shown, open=len(order) <= 12)
