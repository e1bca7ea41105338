"""The cards of a page as HTML that needs no script: tokens in the colours of their weights, a bar below each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alignkit.inspector.cards import COLUMNS, SAME, SIGNED, Card, Pane
from alignkit.inspector.colours import SIDES, class_of
from alignkit.inspector.numbers import first_shown, reach
from alignkit.inspector.words import drawn
from alignkit.lazy import numpy as np
from alignkit.page import Element, element

HEAVIEST = 5
"""Tokens of a response whose weights are written out."""

MOST_PROMPT = 4000
"""Characters drawn of a prompt, its end."""


@dataclass(frozen=True)
class Scale:
    """How the numbers of the column that is shown become colours."""

    column: str
    top: float
    signed: bool

    def of(self, value: float) -> str:
        """The class of a number."""
        return class_of(value, self.top, signed=self.signed)


def cards_section(cards: Sequence[Card]) -> list[Element]:
    """All cards, with what a script needs to filter and to sort them."""
    column = first_shown(cards)
    scale = Scale(column, reach(cards, column), column in SIGNED)
    drawn_cards = [_card(card, scale) for card in cards]
    return [
        element("div", id="tools", hidden=True),
        *_legend(scale),
        element("div", *drawn_cards, id="cards"),
        element("div", id="tip", role="status", hidden=True),
    ]


def _legend(scale: Scale) -> Iterator[Element]:
    if scale.top == 0:
        return
    shares = (
        [n / SIDES for n in range(-SIDES, SIDES + 1, 2)] if scale.signed else [n / SIDES for n in range(1, SIDES + 1)]
    )
    steps = [element("i", f"{scale.top * s:.2g}", class_=scale.of(scale.top * s) or None) for s in shares]
    sign = "; negative numbers are hatched, their bar is dashed" if scale.signed else ""
    words = element("span", f" {COLUMNS[scale.column]}{sign}.")
    yield element("p", element("span", f"{scale.column} "), *steps, words, class_="legend", id="legend")
    said = (
        "Without a script this column alone is shown; with one also log-ratios, KL, filters and a table of every token."
    )
    yield element("noscript", element("p", said, class_="soft"))


def _card(card: Card, scale: Scale) -> Element:
    head = element(
        "header",
        element("a", card.key, href=f"#{card.key}", class_="key"),
        element("span", card.where.rpartition("/")[2], class_="soft"),
        *(element("span", text, class_=kind) for kind, text in _tags(card)),
    )
    prompt = card.prompt.strip() if len(card.prompt) <= MOST_PROMPT else f"\u2026 {card.prompt[-MOST_PROMPT:]}"
    shown = element("p", _visible(prompt), class_="prompt", dir="auto", tabindex=0)
    said = [part for title, text in card.asides.items() for part in _aside(title, text)]
    asides = [element("section", *said, class_="pane")] if said else []
    panes = element("div", *(_pane(pane, scale) for pane in card.panes), *asides, class_="panes")
    return element("article", head, shown, panes, class_="card", id=card.key)


def _tags(card: Card) -> Iterator[tuple[str, str]]:
    known = [f"{round(value, 2) + 0.0:+.2f}" for value in (card.before, card.after) if not math.isnan(value)]
    if known:
        yield "", "margin " + " \u2192 ".join(known) + " nats"
        if card.latest < 0:
            yield "tag bad", "ranked wrongly"
    if card.label is not None:
        yield "tag", "desirable" if card.label else "undesirable"
    if card.cut:
        yield "tag", f"cut: {', '.join(card.cut)}"
    if card.ess < 1 - SAME:
        yield "soft", f"ESS {card.ess:.2f}"
    if not math.isnan(card.decisive_rank):
        yield "soft", f"planted token at rank {card.decisive_rank:.0f}"


def _pane(pane: Pane, scale: Scale) -> Element:
    words = [f"{len(pane.tokens)} tokens", *pane.notes]
    head = element("h4", pane.name, element("small", " \u00b7 ".join(words)))
    weights = pane.weights
    tokens = [_token(pane, place, scale) for place in range(len(pane.tokens))]
    parts = [head, element("p", *tokens, class_="t", dir="auto")]
    if weights is not None and np.ptp(weights) > 0:
        order = np.argsort(-weights, kind="stable")[:HEAVIEST]
        text = ", ".join(
            f"{drawn(pane.tokens[place]).strip() or drawn(pane.tokens[place])} {weights[place]:.2f}" for place in order
        )
        parts.append(element("p", f"heaviest: {text}", class_="soft"))
    return element("section", *parts, class_="pane")


def _token(pane: Pane, place: int, scale: Scale) -> Element:
    values = pane.columns.get(scale.column)
    kinds = [] if values is None else [scale.of(float(values[place]))]
    if pane.critical is not None and pane.critical[place]:
        kinds.append("planted")
    return element("i", drawn(pane.tokens[place]), class_=" ".join(filter(None, kinds)) or None)


def _aside(title: str, text: str) -> Iterator[Element]:
    yield element("h4", title)
    yield element("p", _visible(text), class_="said", dir="auto")


def _visible(text: str) -> str:
    """Text in its lines, with every other control character written out."""
    return "\n".join(drawn_line(line) for line in text.split("\n"))


def drawn_line(line: str) -> str:
    """One line of any length."""
    return "".join(char if char.isprintable() else drawn(char) for char in line)
