"""What training changed on held-out data, and a verdict in words that does not flatter."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.box import ROUNDED
from rich.table import Table

ROWS = (
    ("preference_accuracy", "preference accuracy", "{:.3f}"),
    ("ranking_accuracy", "ranking accuracy", "{:.3f}"),
    ("margin", "margin, nats", "{:.3f}"),
    ("reward_auc", "AUC of log-ratios by label", "{:.3f}"),
    ("nll", "NLL of chosen, nats/token", "{:.3f}"),
    ("kl", "KL to reference, nats", "{:.3f}"),
    ("true_reward", "true reward", "{:.3f}"),
    ("weight_auc", "AUC of token weights", "{:.3f}"),
)
"""Key of `eval.json`, its name, its format."""

LARGE_KL = 5.0
"""Nats per response from which the verdict warns: a policy that far away has usually lost its language."""

NOISE = 2.0
"""Standard errors that a difference must exceed to be called a change."""


def before_after_table(before: Mapping[str, float], after: Mapping[str, float]) -> Table:
    """The measures that exist, before and after training, with their change; +- is one standard error."""
    table = Table(
        title="Held-out data, before and after training", title_justify="left", caption_justify="left", box=ROUNDED
    )
    table.add_column("measure", no_wrap=True)
    for column in ("before", "after", "change"):
        table.add_column(column, justify="right")  # in a narrow terminal the error wraps below its number
    for key, name, form in ROWS:
        if key in before or key in after:
            table.add_row(name, _cell(before, key, form), _cell(after, key, form), _change(before, after, key, form))
    counts = [
        ("pairs", "{:,.0f} pairs"),
        ("responses", "{:,.0f} labelled responses"),
        ("samples", "{:,.0f} sampled responses"),
    ]
    notes = [form.format(after[key]) for key, form in counts if key in after]
    if any(f"{key}_se" in values for key, *_ in ROWS for values in (before, after)):
        notes.append("+- is one standard error")
    table.caption = "; ".join(notes) or None
    return table


def verdict(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """What the numbers allow to be said, bad news included, one sentence each."""
    sentences = [_measured_sentence(before, after, "true_reward", "True reward")]
    sentences += [_measured_sentence(before, after, "reward_auc", "Held-out AUC of log-ratios by label")]
    sentences += [_accuracy_sentence(before, after, key, name) for key, name, _ in ROWS[:2]]
    sentences += [_nll_sentence(before, after), _kl_sentence(after)]
    return " ".join(filter(None, sentences)) or "Nothing was measured before and after, so nothing can be said."


def _measured_sentence(before: Mapping[str, float], after: Mapping[str, float], key: str, name: str) -> str:
    """Of a measure that comes with its standard error."""
    if not (key in before and key in after):
        return ""
    return _compared(name, before[key], after[key], _combined_se(before, after, key))


def _accuracy_sentence(before: Mapping[str, float], after: Mapping[str, float], key: str, name: str) -> str:
    if not (key in before and key in after):
        return ""
    return _compared(f"Held-out {name}", before[key], after[key], _accuracy_se(before, after, key))


def _nll_sentence(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """For training on single responses, whose only measure it is; preference losses may raise it with good reason."""
    if "preference_accuracy" in after or not ("nll" in before and "nll" in after):
        return ""
    return f"Held-out NLL went from {before['nll']:.3f} to {after['nll']:.3f} nats per token."


def _compared(name: str, before: float, after: float, error: float | None) -> str:
    """`name` rose, fell or did neither beyond the noise; the difference and its standard error are printed."""
    if not (math.isfinite(before) and math.isfinite(after)):
        return f"{name} is not a number: the policy is broken."
    difference = after - before
    if error is None:
        return f"{name} changed by {difference:+.3f}; without a standard error that may be noise."
    numbers = f"{difference:+.3f}, standard error {error:.3f}"
    if abs(difference) <= NOISE * error or difference == 0:
        return f"{name} did not rise beyond the noise ({numbers})."
    return f"{name} {'rose' if difference > 0 else 'fell'} from {before:.3f} to {after:.3f} ({numbers})."


def _kl_sentence(after: Mapping[str, float]) -> str:
    kl = after.get("kl")
    if kl is None or kl <= LARGE_KL:
        return ""
    return (
        f"KL to the reference is large: {kl:.2f} nats per response (above {LARGE_KL:g}), so read samples before you "
        "trust the rest; a larger beta, a lower learning rate or fewer steps keep the policy closer."
    )


def _combined_se(before: Mapping[str, float], after: Mapping[str, float], key: str) -> float | None:
    """Standard error of the difference. Taken as independent, which is cautious: the prompts are the same."""
    errors = [values.get(f"{key}_se") for values in (before, after)]
    known = [error for error in errors if error is not None]
    return math.hypot(*known) if len(known) == 2 else None


def _accuracy_se(before: Mapping[str, float], after: Mapping[str, float], key: str) -> float | None:
    """The same for two shares of `pairs` rows, each binomial."""
    pairs = after.get("pairs")
    return math.sqrt(sum(v[key] * (1 - v[key]) / pairs for v in (before, after))) if pairs else None


def _cell(values: Mapping[str, float], key: str, form: str) -> str:
    if key not in values:
        return "-"
    error = values.get(f"{key}_se")
    return form.format(values[key]) + (f" +-{form.format(error)}" if error is not None else "")


def _change(before: Mapping[str, float], after: Mapping[str, float], key: str, form: str) -> str:
    if not (key in before and key in after):
        return "-"
    error = _combined_se(before, after, key)
    signed = form.replace(":", ":+").format(after[key] - before[key])
    return signed + (f" +-{form.format(error)}" if error is not None else "")
