"""Elements of a page: a thin layer over the standard library's, which escapes text and attributes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree.ElementTree import Element as Element
from xml.etree.ElementTree import tostring

Child = Element | str

_NO_CHARACTER: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no document may hold: control characters, halves of surrogate pairs."""


def element(tag: str, *children: Child, **attributes: str | float | bool | None) -> Element:
    """An element of HTML or SVG.

    Args:
        tag: its name.
        children: elements and text, in their order.
        attributes: `class_` is `class`, `aria_label` is `aria-label`; True is an attribute without a value, None and
            False are none.
    """
    given = {_name(key): _value(value) for key, value in attributes.items() if value is not None and value is not False}
    made = Element(tag, given)
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + clean(child)
        else:
            made.text = (made.text or "") + clean(child)
    return made


def table(
    head: Sequence[Child], rows: Iterable[Sequence[Child | float]], caption: str = "", digits: int | None = None
) -> Element:
    """A table; numbers stand right, those of one column below each other.

    Args:
        head: what each column is.
        rows: its cells.
        caption: what the table says, above it.
        digits: of a float after its point, whole ones apart; None writes four significant digits.
    """
    cells = [[*row] for row in rows]
    is_number = [isinstance(cell, float) for cell in cells[0]] if cells else [False] * len(head)
    named = zip(head, is_number, strict=True)
    top = element("tr", *(element("th", name, scope="col", class_="number" if n else None) for name, n in named))
    body = element("tbody", *(element("tr", *(_cell(cell, digits) for cell in row)) for row in cells))
    title = [element("caption", caption)] if caption else []
    return element("div", element("table", *title, element("thead", top), body), class_="scrolls", tabindex=0)


def markup(made: Element) -> str:
    """The element as HTML."""
    return tostring(made, encoding="unicode", method="html")


def clean(text: str) -> str:
    """Text with a replacement character for each character that no document may hold."""
    return _NO_CHARACTER.sub("\ufffd", text)


def number(value: float, digits: int | None = None) -> str:
    """A number with so many digits after the point, or four significant ones; whole ones in full; nothing for NaN."""
    if math.isnan(value):
        return ""
    if abs(value) < 1e15 and value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}" if digits is None else f"{value:,.{digits}f}"


def _cell(value: Child | float, digits: int | None) -> Element:
    if isinstance(value, (str, Element)):
        return element("td", value)
    return element("td", number(value, digits), class_="number")


def _name(key: str) -> str:
    return key.removesuffix("_").replace("_", "-")


def _value(value: str | float) -> str:
    if value is True:
        return ""
    return clean(value) if isinstance(value, str) else f"{value:g}"
