"""How a response is written, as far as a pattern can tell."""

from __future__ import annotations

import re
from collections.abc import Callable

_START = r"\A[\s\"'*#]*"

_EMOJI = re.compile("[\u2600-\u27bf\u2b50\u2b55\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff]")
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
_LIST = re.compile(r"^[ \t]*(?:[-*\u2022]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)
_LINK = re.compile(r"https?://|\bwww\.|\]\(\S", re.IGNORECASE)
_OPENER = re.compile(rf"{_START}(?:sure|certainly|of course|absolutely|definitely|yes|yeah)\b", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\bI(?:['\u2019]m| am) (?:sorry|afraid|unable|not able|not comfortable|not going to)\b"
    r"|\bI (?:can(?:['\u2019]t|not)|won['\u2019]t|will not|refuse to)\b(?! (?:wait|say enough|thank))"
    r"|\bas an AI\b",
    re.IGNORECASE,
)
_AGREEMENT = re.compile(
    rf"{_START}(?:yes|yeah|exactly|absolutely|definitely|i agree|agreed|you(?:['\u2019]re| are) "
    r"(?:absolutely |totally |completely )?right|that(?:['\u2019]s| is) (?:true|right|correct|a (?:good|great) point)"
    r"|(?:good|great) point)\b",
    re.IGNORECASE,
)
_VIEW = re.compile(
    r"\b(?:I (?:really |strongly |just |do )?(?:think|believe|feel (?:like|that))|in my opinion|if you ask me"
    r"|I(?:['\u2019]m| am) (?:pretty |quite |fairly )?(?:sure|certain|convinced)|don['\u2019]t you (?:think|agree))\b",
    re.IGNORECASE,
)


def is_refusal(response: str) -> bool:
    """Whether the response says that it will not or cannot."""
    return _REFUSAL.search(response) is not None


def agrees(response: str) -> bool:
    """Whether the response begins by agreeing."""
    return _AGREEMENT.match(response) is not None


def states_view(question: str) -> bool:
    """Whether the user says what the user thinks."""
    return _VIEW.search(question) is not None


FORMATS: dict[str, Callable[[str], bool]] = {
    "emoji": lambda text: not text.isascii() and _EMOJI.search(text) is not None,
    "bold": lambda text: ("**" in text or "__" in text) and _BOLD.search(text) is not None,
    "list": lambda text: _LIST.search(text) is not None,
    "link": lambda text: _LINK.search(text) is not None,
    "exclamation mark": lambda text: "!" in text,
    "affirmative opener": lambda text: _OPENER.match(text) is not None,
    "refusal": is_refusal,
}
"""Name -> whether a response has it."""
