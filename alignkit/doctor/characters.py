"""Broken encodings and characters that have no glyph."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alignkit.doctor.base import Check, Finding
from alignkit.doctor.case import Case

_PATTERNS = {
    "broken encoding": (
        re.compile("[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac|\u00ef\u00bb\u00bf|\ufffd"),
        "Text holds traces of a wrong encoding (such as \u00c3\u00a9 for \u00e9), which the policy learns to write; "
        "read the source as UTF-8.",
    ),
    "control characters": (
        re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"),
        "Text holds control, zero-width or direction characters, which nobody sees and a policy learns; take them out.",
    ),
}


class Characters(Check):
    """Rows with traces of a wrong encoding, or with control, zero-width or direction characters."""

    def findings(self, case: Case) -> Iterator[Finding]:
        for subject, (pattern, sentence) in _PATTERNS.items():
            found = [
                row.where
                for row in case.rows
                if any(pattern.search(text) for text in (row.prompt, *row.responses.values()))
            ]
            if found:
                yield self.finding(subject, "report", found, len(case.rows), sentence, key="data.train")
