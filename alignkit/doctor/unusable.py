"""Rows that alignkit itself refuses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

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
    together, such as too few to hold any out.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        for obstacle in case.obstacles:
            number, sentence = case.num_read, f"A run stops: {obstacle}."
            key = "data.holdout" if obstacle.startswith("data.holdout") else "data.train"
            yield self.finding("all rows", "error", [], number, sentence, key=key, count=number)
        places = defaultdict[str, list[str]](list)
        details: dict[str, str] = {}
        for offender in case.refused:
            places[offender.reason].append(offender.row.where)
            details.setdefault(offender.reason, offender.detail)
        for reason, found in places.items():
            verb = "leaves out" if case.data.on_bad_row == "drop" else "stops at"
            yield self.finding(
                reason,
                "error",
                found,
                case.num_read,
                f"A run {verb} {'these rows' if len(found) > 1 else 'this row'}; the first: {details[reason]}.",
                key=_KEYS.get(reason, "model.chat_template" if "template" in reason else "data.on_bad_row"),
            )
