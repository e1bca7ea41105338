"""What training changed on held-out data, and a verdict in words that does not flatter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from rich.box import ROUNDED
from rich.console import Group
from rich.table import Table
from rich.text import Text

from alignkit.evaluation.base import Measure
from alignkit.report.wrapping import wrapped

JUDGED = (
    ("true_reward", "True reward", "samples"),
    ("reward", "Reward of sampled responses", "samples"),
    ("reward_auc", "Held-out AUC of log-ratios by label", "responses"),
    ("preference_accuracy", "Held-out preference accuracy", "pairs"),
    ("ranking_accuracy", "Held-out ranking accuracy", "pairs"),
)
"""Measures that the verdict speaks of, their names, and what counts their rows."""

LARGE_KL = 5.0
"""Nats per response from which the verdict warns: a policy that far away has usually lost its language."""

NOISE = 2.0
"""Standard errors that a difference must exceed to be called a change."""


FEWEST = 20
"""Rows or samples below which nothing is claimed: a standard error of so few is itself noise."""

WIDE = 76
"""Columns from which a number and its standard error stand beside each other."""

Values = Mapping[str, float]


def before_after_table(
    measures: Sequence[Measure], before: Values, after: Values, change: Values | None = None, width: int = 80
) -> Group:
    """The values that exist, before and after training, with their change; +- is one standard error.

    Args:
        measures: say which values have a row, and in which order.
        before: name -> value and `NAME_se` -> standard error, as in `eval.json`.
        after: the same after training.
        change: the same of the differences, paired by row; without, their errors are taken as independent.
        width: columns of the terminal.
    """
    table = Table(box=ROUNDED)
    table.add_column("measure", overflow="fold")
    for column in ("before", "after", "change"):
        table.add_column(column, justify="right", no_wrap=True)  # a number is never cut: the name wraps first
    for cells in table_rows(measures, before, after, change or {}, " " if width >= WIDE else "\n"):
        table.add_row(*cells)
    if not table.row_count:
        return Group()
    # Not the table's own title and caption, which are no wider than it, and padded with blanks.
    notes = "; ".join(dict.fromkeys(_notes(measures, before, after)))  # two measures may count the same samples
    return Group(Text("Held-out data, before and after training"), table, Text(wrapped(notes, width)))


def table_rows(
    measures: Sequence[Measure], before: Values, after: Values, change: Values, between: str = " "
) -> Iterator[tuple[str, ...]]:
    """Label, before, after and change of each value that exists; `between` parts a number from its error."""
    for key, label, form in _labelled(measures, {**before, **after}):
        if key in before or key in after:
            difference, error = _difference(before, after, change, key)
            yield (
                label,
                _cell(before.get(key), before.get(f"{key}_se"), form, between),
                _cell(after.get(key), after.get(f"{key}_se"), form, between),
                _cell(difference, error, form.replace(":", ":+"), between),
            )


def _labelled(measures: Sequence[Measure], found: Values) -> Iterator[tuple[str, str, str]]:
    """Key of `eval.json`, label and format of each value that has a row: those of measures, then of benchmarks."""
    for value in (value for measure in measures for value in measure.values):
        if value.label is not None:
            yield value.name, value.label, f"{{:.{value.digits}f}}"
    own = {value.name for measure in measures for value in measure.values}
    yield from ((key, key, "{:.3f}") for key in found if "/" in key and not key.endswith("_se") and key not in own)


def _notes(measures: Sequence[Measure], before: Values, after: Values) -> Iterator[str]:
    for measure in measures:
        yield from measure.notes(after)
    if any(f"{key}_se" in values for key, *_ in _labelled(measures, after) for values in (before, after)):
        yield "+- is one standard error"


def verdict(before: Values, after: Values, change: Values | None = None) -> str:
    """What the numbers allow to be said, bad news included, one sentence each."""
    sentences = [
        _compared(name, before[key], after[key], *_difference(before, after, change or {}, key), after.get(unit), unit)
        for key, name, unit in JUDGED
        if key in before and key in after and not (key == "reward" and before[key] == before.get("true_reward"))
    ]
    sentences += [_nll_sentence(before, after), _kl_sentence(after)]
    return " ".join(filter(None, sentences)) or "Nothing was measured before and after, so nothing can be said."


def _nll_sentence(before: Values, after: Values) -> str:
    """For training on single responses, whose only measure it is; preference losses may raise it with good reason."""
    if "preference_accuracy" in after or not ("nll" in before and "nll" in after):
        return ""
    return f"Held-out NLL went from {before['nll']:.3f} to {after['nll']:.3f} nats per token."


def _compared(
    name: str,
    before: float,
    after: float,
    difference: float | None,
    error: float | None,
    count: float | None,
    unit: str,
) -> str:
    """`name` rose, fell or did neither beyond the noise; the difference and its standard error are printed."""
    if difference is None or not (math.isfinite(before) and math.isfinite(after)):
        return f"{name} is not a number: the policy is broken."
    if count is not None and count < FEWEST:
        return f"{name} changed by {difference:+.3f}; {count:.0f} {unit} are too few for a claim ({FEWEST})."
    if error is None:
        return f"{name} changed by {difference:+.3f}; without a standard error that may be noise."
    numbers = f"{difference:+.3f}, standard error {error:.3f}"
    if abs(difference) <= NOISE * error or difference == 0:
        return f"{name} did not rise beyond the noise ({numbers})."
    return f"{name} {'rose' if difference > 0 else 'fell'} from {before:.3f} to {after:.3f} ({numbers})."


def _kl_sentence(after: Values) -> str:
    kl = after.get("kl")
    if kl is None or kl <= LARGE_KL:
        return ""
    return (
        f"KL to the reference is large: {kl:.2f} nats per response (above {LARGE_KL:g}), so read samples before you "
        "trust the rest; a larger beta, a lower learning rate or fewer steps keep the policy closer."
    )


def _difference(before: Values, after: Values, change: Values, key: str) -> tuple[float | None, float | None]:
    """After - before and its standard error, paired by row if it is known; else as if the two were independent, which
    is cautious. None where there is none."""
    if not (key in before and key in after):
        return None, None
    if key in change:
        return change[key], _known(change.get(f"{key}_se"))
    errors = [_known(values.get(f"{key}_se")) for values in (before, after)]
    known = [error for error in errors if error is not None]
    return after[key] - before[key], math.hypot(*known) if len(known) == 2 else None


def _known(error: float | None) -> float | None:
    return None if error is None or math.isnan(error) else error


def _cell(value: float | None, error: float | None, form: str, between: str) -> str:
    if value is None:
        return "-"
    error = _known(error)
    return form.format(value) + (f"{between}+-{form.replace('+', '').format(error)}" if error is not None else "")
