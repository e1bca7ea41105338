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


def table(head: Sequence[Child], rows: Iterable[Sequence[Child | float]], caption: str = "") -> Element:
    """A table; numbers stand right, those of one column below each other.

    Args:
        head: what each column is.
        rows: its cells; a float is written with four significant digits.
        caption: what the table says, above it.
    """
    top = element("tr", *(element("th", cell, scope="col") for cell in head))
    body = element("tbody", *(element("tr", *map(_cell, row)) for row in rows))
    title = [element("caption", caption)] if caption else []
    return element("div", element("table", *title, element("thead", top), body), class_="scrolls", tabindex=0)


def markup(made: Element) -> str:
    """The element as HTML."""
    return tostring(made, encoding="unicode", method="html")


def clean(text: str) -> str:
    """Text with a replacement character for each character that no document may hold."""
    return _NO_CHARACTER.sub("\ufffd", text)


def number(value: float) -> str:
    """A number with four significant digits; whole ones in full; nothing for NaN."""
    if math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) < 1e15 and value == int(value) else f"{value:.4g}"


def _cell(value: Child | float) -> Element:
    if isinstance(value, (str, Element)):
        return element("td", value)
    return element("td", number(value), class_="number")


def _name(key: str) -> str:
    return key.removesuffix("_").replace("_", "-")


def _value(value: str | float) -> str:
    if value is True:
        return ""
    return clean(value) if isinstance(value, str) else f"{value:g}"
