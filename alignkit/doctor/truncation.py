"""Rows longer than `data.max_length`."""

from __future__ import annotations

from collections.abc import Iterator

from alignkit.doctor.base import Check, Finding, Level, warn_if
from alignkit.doctor.case import Case
from alignkit.lazy import numpy as np

MOST = 0.05
"""Share of rows that are cut, from which the finding warns."""

_WORDS = {
    "error": "a run stops at them",
    "drop": "a run leaves them out",
    "truncate_prompt": "the start of their prompts is cut off",
    "truncate_response": "the end of their responses is cut off, the end token with it",
}
"""What `data.on_overflow` does to them."""


class Truncation(Check):
    """Rows longer than `data.max_length`, and what `data.on_overflow` does to them.

    An error where a run stops at them, a warning where more than 5 % of the rows are cut, else a report. Says nothing
    where every row fits.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        lengths = {row.where: row.length for row in (*case.rows, *case.left_out) if row.length}
        most, policy = case.data.max_length, case.data.on_overflow
        long = [where for where, length in lengths.items() if length > most]
        if not long:
            return
        share = len(long) / len(lengths)
        levels: dict[str, Level] = {"error": "error", "drop": "report"}
        values = np.fromiter(lengths.values(), np.int64, len(lengths))
        middle, high = (int(np.quantile(values, part, method="higher")) for part in (0.5, 0.99))
        longest = int(values.max())
        yield self.finding(
            "longer than data.max_length",
            levels.get(policy, warn_if(share > MOST)),
            long,
            len(lengths),
            f"With data.on_overflow: {policy}, {_WORDS[policy]}; half of all rows have at most {middle:,} tokens, 99 % "
            f"{high:,}, the longest {longest:,}, and data.max_length is {most:,}.",
            key="data.max_length",
            values={"share": share, "median": middle, "percentile_99": high, "longest": longest},
        )
