"""Rows that alignkit itself refuses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from alignkit.data.checks import Offender
from alignkit.doctor.base import Check, Finding
from alignkit.doctor.case import Case

_KEYS = {
    "response too long": "data.max_length",
    "prompt too long": "data.max_length",
    "empty prompt": "data.separator",
}
"""Reason -> recipe key that answers it, where that is another than `data.on_bad_row` or the chat template."""


class UnusableRows(Check):
    """Rows that a run refuses: empty or identical responses, missing fields, control tokens typed into the text.

    All of them are counted, each kind by itself, whatever `data.on_bad_row` says; and what is wrong with all rows
    together, such as too few to hold any out. Rows that have nothing for the trainer, such as ties, are reported.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        for obstacle in case.obstacles:
            number, sentence = case.num_read, f"A run stops: {obstacle}."
            key = "data.holdout" if obstacle.startswith("data.holdout") else "data.train"
            yield self.finding("all rows", "error", [], number, sentence, key=key, count=number)
        verb = "leaves out" if case.data.on_bad_row == "drop" else "stops at"
        for reason, found in _by_reason(case.refused).items():
            key = _KEYS.get(reason, "model.chat_template" if "template" in reason else "data.on_bad_row")
            sentence = f"A run {verb} {_these(found)}."
            yield self.finding(reason, "error", _places(found), case.num_read, sentence, key=key)
        for reason, found in _by_reason(case.unwanted).items():
            sentence = f"A run leaves out {_these(found)}."
            yield self.finding(reason, "report", _places(found), case.num_read, sentence, key="data.train")


def _by_reason(offenders: Sequence[Offender]) -> dict[str, list[Offender]]:
    found = defaultdict[str, list[Offender]](list)
    for offender in offenders:
        found[offender.reason].append(offender)
    return found


def _these(offenders: Sequence[Offender]) -> str:
    return f"{'these rows' if len(offenders) > 1 else 'this row'}; the first: {offenders[0].detail}"


def _places(offenders: Sequence[Offender]) -> list[str]:
    return [offender.row.where for offender in offenders]
