"""Scripts and languages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from alignkit.doctor.base import Check, Finding
from alignkit.doctor.case import Case, spaced

_SCRIPTS = {
    "Cyrillic": "\u0400-\u052f",
    "Greek": "\u0370-\u03ff",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f",
    "Devanagari": "\u0900-\u097f",
    "Thai": "\u0e00-\u0e7f",
    "Hangul": "\u1100-\u11ff\uac00-\ud7af",
    "kana": "\u3040-\u30ff",
    "Han": "\u3400-\u4dbf\u4e00-\u9fff",
}
_LETTERS = re.compile("|".join(f"([{letters}])" for letters in _SCRIPTS.values()))
_WORD = re.compile(r"[^\W\d_]+")
_LATIN = re.compile("[a-z\u00c0-\u024f]", re.IGNORECASE)

_FREQUENT = {
    "English": "the of and to is you that it for with are this have not be what i how my can",
    "German": "der das ist nicht ein eine ich zu mit auf f\u00fcr sie von wie und",
    "French": "le les et est une des pas que vous dans pour je qui sur comment",
    "Spanish": "el los y es una que en por con para se del lo como",
    "Italian": "il che \u00e8 non di una sono gli del si nel della",
    "Portuguese": "os \u00e9 uma que n\u00e3o em por com para se da como",
    "Dutch": "het een en is niet van ik je dat op te voor met zijn",
}
"""Language -> words that few texts in it are without."""

_SPOKEN: dict[str, list[str]] = {}
for _language, _words in _FREQUENT.items():
    for _word in _words.split():
        _SPOKEN.setdefault(_word, []).append(_language)

_FEWEST = 2
"""Frequent words that a text must hold to be told by them."""

_LOOKED_AT = 200
"""Characters of a text that are looked at."""


MOST_ROWS = 10_000
"""Rows that are looked at, evenly spaced over all."""


class Languages(Check):
    """Which scripts and languages the rows are in, and whether responses are in the script of their prompts.

    A script by the letters of a text's first 200 characters; for Latin ones one of seven languages by its frequent
    words, where one leads. Of more than 10,000 rows, so many are looked at, evenly spaced.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        rows = spaced(case.rows, MOST_ROWS)
        found = [language_of(next(iter(row.responses.values()), row.prompt)) for row in rows]
        counts = Counter(found)
        if not counts:
            return
        (first, _), *_ = counts.most_common(1)
        others = [row.where for row, one in zip(rows, found, strict=True) if one != first]
        if others:
            shares = {name: number / len(rows) for name, number in counts.most_common()}
            listed = ", ".join(f"{name} {share:.1%}" for name, share in list(shares.items())[:5])
            yield self.finding(
                "mix",
                "report",
                others,
                len(rows),
                f"Responses by their first words: {listed}; a policy answers in what it was trained on.",
                key="data.train",
                values=shares,
            )
        crossed = [row.where for row in rows if _is_crossed(row.prompt, [*row.responses.values()])]
        if crossed:
            yield self.finding(
                "script of the prompt left",
                "report",
                crossed,
                len(rows),
                "A response is in another script than its prompt; unless it translates, that is a fault of the data.",
                key="data.train",
            )


def script_of(text: str) -> str:
    """The script of most letters at the text's start; empty without letters."""
    text = text[:_LOOKED_AT]
    if text.isascii():
        return "Latin" if _LATIN.search(text) else ""
    counts = Counter({"Latin": len(_LATIN.findall(text))})
    names = tuple(_SCRIPTS)
    counts.update(names[(match.lastindex or 1) - 1] for match in _LETTERS.finditer(text))
    name, number = counts.most_common(1)[0]
    return name if number else ""


def language_of(text: str) -> str:
    """The language, where frequent words tell it, else the script; `none` without letters."""
    script = script_of(text)
    if script != "Latin":
        return script or "none"
    words = _WORD.findall(text[:_LOOKED_AT].lower())
    scores = Counter(language for word in words for language in _SPOKEN.get(word, ()))
    (best, most), (_, next_most) = (*scores.most_common(2), ("", 0), ("", 0))[:2]
    return best if most >= _FEWEST and most > next_most else "Latin, not told"


def _is_crossed(prompt: str, responses: list[str]) -> bool:
    """Japanese is in two scripts."""
    asked = script_of(prompt[-_LOOKED_AT:])
    return bool(asked) and any(
        bool(script := script_of(text)) and script != asked and {script, asked} != {"kana", "Han"} for text in responses
    )
