"""Progress of a training run: one live line in a terminal, a plain line now and then in a pipe or in CI."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.text import Text

from alignkit.progress.display import Display, Line, duration

SHOWN = (
    ("reward", "reward {:.3f}"),
    ("reward_std", "+-{:.3f} within groups"),
    ("loss", "loss {:.4f}"),
    ("rewards/margins", "margin {:+.3f}"),
    ("rewards/accuracies", "accuracy {:.3f}"),
    ("lr", "lr {:.1e}"),
    ("tokens/s", "{:,.0f} tokens/s"),
)
"""Metrics that are shown when they exist, the most wanted first: a narrow terminal has no room for the last."""


EVALUATED = ("preference_accuracy", "reward_auc", "margin", "nll", "kl", "reward", "true_reward")
"""Measures of an evaluation during training that get a line of their own."""


class Progress:
    """Shows each step; a context manager, because the live line must be closed.

    Args:
        total: optimizer steps of the whole run.
        display: where to show it; standard output by default.
    """

    def __init__(self, total: int, *, display: Display | None = None) -> None:
        self._total = total
        self._display = display or Display()
        self._line: Line | None = None
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> Self:
        self._line = self._display.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._line is not None
        self._display.close(self._line, stays=True)

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows a finished step, unless the last one was shown only just now.

        Args:
            step: optimizer steps done, from 1.
            metrics: the loop's line of `metrics.jsonl`; speed is its `tokens` by its `seconds`, the rest is not shown.
        """
        assert self._line is not None
        if evaluated := [f"{name} {metrics[f'eval/{name}']:.3f}" for name in EVALUATED if f"eval/{name}" in metrics]:
            self.note(f"evaluation after step {step}: {', '.join(evaluated)}")
        left = self._seconds_left(step, metrics)
        if self._line.is_due or step == self._total:
            self._line.show(progress_parts(step, self._total, metrics, left), step, self._total)

    def note(self, text: str) -> None:
        """Prints a line of its own, above the live one."""
        self._display.console.print(Text(text), soft_wrap=True)

    def _seconds_left(self, step: int, metrics: Mapping[str, float]) -> float | None:
        """By the steps since the first one that was told of: a resumed run does not begin at step 1, and a first step
        may have waited for anchors. Of the first step itself by its own time."""
        now = self._display.clock()
        if self._first is None:
            self._first = now, step
        done = step - self._first[1]
        each = (now - self._first[0]) / done if done else metrics.get("seconds")
        return None if each is None else each * (self._total - step)


def progress_parts(step: int, total: int, metrics: Mapping[str, float], seconds_left: float | None) -> list[str]:
    """`step 40/100`, `0:12 left`, `loss 0.5512`, ...; a metric that is missing is left out."""
    parts = [f"step {step:>{len(str(total))}}/{total}"]
    if seconds_left is not None:
        parts.append(f"{duration(seconds_left)} left")
    known = dict(metrics)
    if "tokens" in metrics and metrics.get("seconds", 0.0) > 0:
        known["tokens/s"] = metrics["tokens"] / metrics["seconds"]
    return parts + [form.format(known[name]) for name, form in SHOWN if name in known]
