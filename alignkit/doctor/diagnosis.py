"""What all checks found in a recipe's data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from alignkit.doctor import checks
from alignkit.doctor.base import LEVELS, Check, Finding, Level
from alignkit.doctor.case import Case
from alignkit.errors import CheckError, shown


@dataclass(frozen=True)
class Diagnosis:
    """What all checks found.

    Attributes:
        findings: the worst first, then by check.
        read: rows read.
        used: rows that a run would use.
        held_out: those of them that it would evaluate on.
        tokenised: those of them whose tokens were looked at.
        not_run: checks that need the model, where none was loaded.
    """

    findings: tuple[Finding, ...]
    read: int
    used: int
    held_out: int
    tokenised: int
    not_run: tuple[str, ...] = ()

    def has(self, worst: Level) -> bool:
        """Whether anything is at least as bad as `worst`."""
        return any(LEVELS.index(finding.level) <= LEVELS.index(worst) for finding in self.findings)

    @property
    def counts(self) -> dict[Level, int]:
        """Level -> findings."""
        counts = Counter(finding.level for finding in self.findings)
        return {level: counts[level] for level in LEVELS}

    def as_json(self, **more: object) -> dict[str, object]:
        """Everything as plain values, with what else is given before it; the same for the same findings."""
        rows = {"read": self.read, "used": self.used, "held_out": self.held_out, "tokenised": self.tokenised}
        findings = [asdict(finding) for finding in self.findings]
        return {**more, "rows": rows, "counts": self.counts, "findings": findings, "not_run": self.not_run}


def diagnose(case: Case) -> Diagnosis:
    """Asks every check that is installed.

    Raises:
        AlignkitError: a plugin's check cannot be loaded, or gives what is no finding.
    """
    every = [checks.build(name, {}) for name in checks.names()]
    run = [check for check in every if case.reference is not None or not check.with_model]
    found = [finding for check in run for finding in _found(check, case)]
    return Diagnosis(
        findings=tuple(sorted(found, key=lambda finding: LEVELS.index(finding.level))),
        read=case.num_read,
        used=len(case.rows),
        held_out=len(case.held_out),
        tokenised=len(case.tokenised),
        not_run=tuple(check.name for check in every if check not in run),
    )


def _found(check: Check, case: Case) -> Iterator[Finding]:
    found: Sequence[object] = list(check.findings(case))
    for finding in found:
        if not (isinstance(finding, Finding) and finding.level in LEVELS):
            raise CheckError(f"check '{check.name}' gives {shown(finding)}; expected findings of {', '.join(LEVELS)}")
        yield finding
