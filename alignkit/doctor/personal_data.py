"""Addresses, numbers and keys that a policy should not learn by heart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from alignkit.doctor.base import Check, Finding
from alignkit.doctor.case import Case

_PATTERNS = {
    "e-mail addresses": re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,4}[A-Za-z]{2,24}\b"),
    "phone numbers": re.compile(
        r"(?<![\w.])(?:\+\d{1,3}[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"
        r"|(?<![\w.])\+\d{1,3}(?:[ .-]?\d{2,4}){3,4}(?![\w-])"
    ),
    "keys": re.compile(
        r"\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bgh[opsur]_[A-Za-z0-9]{36}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}"
        r"|\bAIza[\w-]{35}|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
    ),
}


_DIGITS = re.compile("[0-9]{3}")

_MAY_HOLD: dict[str, Callable[[str], bool]] = {
    "e-mail addresses": lambda text: "@" in text,
    "phone numbers": lambda text: _DIGITS.search(text) is not None,
    "keys": lambda text: any(start in text for start in ("sk-", "AKIA", "gh", "xox", "AIza", "PRIVATE KEY")),
}
"""What is quick to see and no match is without."""


class PersonalData(Check):
    """Rows that hold what looks like an e-mail address, a phone number or a secret key; what it is, is not repeated."""

    def findings(self, case: Case) -> Iterator[Finding]:
        for subject, pattern in _PATTERNS.items():
            may_hold = _MAY_HOLD[subject]
            found = [
                row.where
                for row in case.rows
                if any(may_hold(text) and pattern.search(text) for text in (row.prompt, *row.responses.values()))
            ]
            if found:
                yield self.finding(
                    subject,
                    "report",
                    found,
                    len(case.rows),
                    f"Rows hold what looks like {subject}, which a policy can learn by heart; look at them, and take "
                    "out what is real.",
                    key="data.train",
                )
