"""Colours of tokens by their numbers, in a light and a dark scheme, and text that stays readable on all of them.

One hue for what has no sign, two of Okabe and Ito's for what has one; a bar below each token says the same once more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

Colour = tuple[int, int, int]

LEVELS, SIDES = 12, 6
"""Steps of a number without sign, and of one with sign to each side."""

PAPER: dict[str, Colour] = {"light": (255, 255, 255), "dark": (20, 23, 27)}
ONE: dict[str, Colour] = {"light": (8, 81, 156), "dark": (120, 184, 240)}
PLUS: dict[str, Colour] = {"light": (0, 114, 178), "dark": (86, 180, 233)}
MINUS: dict[str, Colour] = {"light": (213, 94, 0), "dark": (240, 140, 60)}
"""Paper, and the ends of the scales."""

BLACK, WHITE = (0, 0, 0), (255, 255, 255)

CONTRAST = 4.5
"""Least contrast of text to what is behind it (WCAG 1.4.3)."""

HATCH = "repeating-linear-gradient(45deg,transparent 0 4px,{}59 4px 5px)"
"""Of negative numbers; away from the text's colour, so that it is read no worse."""

BAR = 6
"""Height of the longest bar; pixels."""


def mixed(share: float, end: Colour, start: Colour) -> Colour:
    """The colour that far from `start` to `end`."""
    return tuple(round(a + share * (b - a)) for a, b in zip(start, end, strict=True))  # type: ignore[return-value]


def luminance(colour: Colour) -> float:
    """Relative luminance as WCAG has it."""
    parts = [value / 255 for value in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Colour, other: Colour) -> float:
    """From 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def ink(ground: Colour) -> Colour:
    """Black or white, whichever is read better."""
    return max(BLACK, WHITE, key=lambda colour: contrast(colour, ground))


def classes(scheme: str) -> dict[str, tuple[Colour, float]]:
    """Class of a token -> its ground, and the length of its bar as a share."""
    paper = PAPER[scheme]
    found = {f"w{n}": (mixed(n / LEVELS, ONE[scheme], paper), n / LEVELS) for n in range(1, LEVELS + 1)}
    for prefix, end in (("p", PLUS), ("n", MINUS)):
        found |= {f"{prefix}{n}": (mixed(n / SIDES, end[scheme], paper), n / SIDES) for n in range(1, SIDES + 1)}
    return found


def style() -> str:
    """The style sheet of all classes."""
    return "".join(_rules())


def _rules() -> Iterator[str]:
    for scheme in ("light", "dark"):
        rules = "".join(_rule(name, ground) for name, (ground, _) in classes(scheme).items())
        yield rules if scheme == "light" else f"@media screen and (prefers-color-scheme:dark){{{rules}}}"
    for name, (_, share) in classes("light").items():
        kind = "dashed" if name.startswith("n") else "solid"
        yield f".{name}{{border-bottom:{max(1, round(BAR * share))}px {kind} var(--bar)}}"


def _rule(name: str, ground: Colour) -> str:
    text = ink(ground)
    hatched = f";background-image:{HATCH.format(_hex(BLACK if text == WHITE else WHITE))}" if name[0] == "n" else ""
    return f".{name}{{background-color:{_hex(ground)};color:{_hex(text)}{hatched}}}"


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)


def class_of(value: float, top: float, *, signed: bool) -> str:
    """The class of a number on a scale that ends at `top`; empty for one that is next to nothing or not known."""
    if not top > 0 or math.isnan(value):
        return ""
    steps = SIDES if signed else LEVELS
    level = min(steps, round(steps * abs(value) / top))
    prefix = "w" if not signed else "n" if value < 0 else "p"
    return f"{prefix}{level}" if level else ""
