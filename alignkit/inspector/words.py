"""What kind of token it is, and how it is drawn: white space as marks, whatever has no glyph written out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from alignkit.errors import printable

LONGEST: Final = 120
"""Most characters drawn of one token; a longer one loses its middle."""

MARKS: Final[Mapping[str, str]] = {"\n": "\u21b5", "\r": "\u240d", "\t": "\u21e5"}
"""What white space is drawn as; a line still ends where it does."""

PART: Final = "\u00b7"
"""Drawn for a token without characters of its own."""

_STOP_WORDS = (
    "a about after all also an and any are as at be because been before being both but by can could did do does for "
    "from had has have he her here him his how i if in into is it its just me more most my no not of on only or other "
    "our out over she should so some such than that the their them then there these they this those to too up us very "
    "was we were what when where which while who why will with would you your"
)
STOP_WORDS: Final = frozenset(_STOP_WORDS.split())

_SPECIAL = re.compile(r"<[^<>\s]{1,40}>|\[[A-Z]{2,12}\]")
_KINDS: Final[Sequence[tuple[str, re.Pattern[str]]]] = (
    ("white space", re.compile(r"\s*")),
    ("end or control token", _SPECIAL),
    ("number", re.compile(r"[\d.,]*\d[\d.,%]*")),
    ("operator", re.compile(r"[-+*/=<>^%$&|~]+")),
    ("punctuation", re.compile(r"[^\w\s]+")),
)

KINDS: Final = (*(name for name, _ in _KINDS), "stop word", "name", "other word")
"""Classes of tokens, in the order of the page."""


def drawn(token: str) -> str:
    """The token as it is drawn."""
    if not token:
        return PART
    if len(token) > LONGEST:
        token = printable(token, LONGEST)
    if token.isprintable():
        return token
    return "".join(_mark(char) for char in token)


def _mark(char: str) -> str:
    if char == "\n":
        return f"{MARKS[char]}\n"
    return MARKS.get(char) or printable(char, None)


def kind_of(tokens: Sequence[str], place: int) -> str:
    """The class of a token; a name is a word with a capital that no sentence starts with."""
    token = tokens[place]
    bare = token.strip()
    for name, pattern in _KINDS:
        if pattern.fullmatch(bare):
            return name
    if bare.lower() in STOP_WORDS:
        return "stop word"
    starts = place == 0 or tokens[place - 1].rstrip(" ")[-1:] in ("", "\n", ".", "!", "?", ":", '"')
    is_begun = place > 0 and token[:1] == bare[:1] and tokens[place - 1][-1:].isalnum()  # the rest of a word
    return "name" if bare[:1].isupper() and not starts and not is_begun else "other word"
