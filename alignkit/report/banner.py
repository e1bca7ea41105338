"""What a run says before its first step, as soon as it is known: what is trained, on what, how, and where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from alignkit.data.rows import DataReport
from alignkit.errors import printable
from alignkit.recipe.recipe import Recipe
from alignkit.report.wrapping import wrapped

NAME_WIDTH = 8
"""Columns of the names on the left."""

_NOTED = {
    "wrapped_as_turns": "rows whose text became a user's turn and its answer, as the model speaks in turns (data.chat)",
    "opened_otherwise": "rows whose generation the template opens with more than their prompt",
    "conversations": "conversations of which each assistant turn is a row",
    "earlier_turns_untrained": "rows whose earlier assistant turns are not trained",
    "special_tokens_as_text": "rows that mention control tokens, which are read as text",
    "special_tokens_as_control": "rows with control tokens in their own text, which act as such",
    "truncated_prompt": "prompts cut",
    "truncated_response": "responses cut",
}
"""Counts of a `DataReport` of what is read otherwise than it stands there, or does not reach the loss -> words."""


@dataclass(frozen=True)
class Batch:
    """How an optimizer step's examples are split, or that it has so many prompts.

    Attributes:
        size: effective batch; examples per optimizer step.
        micro: most examples in one forward pass of one process.
        accumulation: forward passes per optimizer step of one process.
        processes: processes that train together.
        responses: sampled responses to each of these, which are prompts then; 0 where the data has the responses.
        tokens: most of one forward pass, where they are what it is cut by; 0 where examples are.
    """

    size: int
    micro: int
    accumulation: int
    processes: int
    responses: int = 0
    tokens: int = 0

    def __str__(self) -> str:
        processes = _counted(self.processes, "process", "processes")
        most = f"at most {self.tokens:,} tokens a pass" if self.tokens else f"at most {self.micro} rows a pass"
        if self.responses:
            prompts = f"{_counted(self.size, 'prompt', 'prompts')} a step, {self.responses} sampled responses each"
            return f"{prompts}; {most}, {processes}"
        if self.tokens:
            return f"{_counted(self.size, 'example', 'examples')} a step; {most}, {processes}"
        parts = f"{self.micro} x {_counted(self.accumulation, 'pass', 'passes')} x {processes}"
        # The last pass of a step is smaller when the micro-batch does not divide the batch.
        is_exact = self.micro * self.accumulation * self.processes == self.size
        return f"{_counted(self.size, 'example', 'examples')} a step {'=' if is_exact else '<'} {parts}"


@dataclass(frozen=True)
class Banner:
    """The facts of a run, one below the other, named on the left; each part is printed when it is known.

    Attributes:
        console: where to print.
    """

    console: Console

    def begun(self, *, recipe: str, method: str, folder: str, loading: str) -> None:
        """What is known at once.

        Args:
            recipe: the recipe's path, as the user gave it.
            method: what is trained how, in words.
            folder: the run folder.
            loading: what is loaded now: data and model, as the recipe names them.
        """
        self._print("recipe", recipe)
        self._print("method", method)
        self._print("folder", folder)
        self._print("loading", loading)

    def data(self, reports: Sequence[DataReport]) -> None:
        """What became of each source."""
        said = ""
        for report in reports:
            name = "data" if report.part == "train" else "eval"
            self._print(name if name != said else "", data_line(report))
            said = name

    def model(self, name: str, *, parameters: int, trainable: int) -> None:
        """The policy.

        Args:
            name: as the recipe names it.
            parameters: all of them, adapter included.
            trainable: those that are trained.
        """
        trained = "all trained" if trainable == parameters else f"{trainable:,} trained ({trainable / parameters:.2%})"
        self._print("model", f"{name}: {parameters:,} parameters, {trained}")

    def note(self, text: str) -> None:
        """What the user should know of the recipe or the model."""
        self._print("", text)

    def plan(self, batch: Batch, *, steps: int, epochs: float) -> None:
        """How long and in which pieces is trained."""
        self._print("batch", str(batch))
        self._print("steps", f"{steps:,}, {epochs:.3g} {'pass' if epochs == 1 else 'passes'} over the training rows")

    def _print(self, name: str, value: str) -> None:
        self.console.print(banner_line(name, value, self.console.width), soft_wrap=True)


def method_line(recipe: Recipe) -> str:
    """What is minimised, on which tokens and pairs, in words."""
    losses = " + ".join(
        loss.name if loss.coefficient == 1 else f"{loss.coefficient:g} {loss.name}" for loss in recipe.losses
    )
    parts = [losses, f"token weighting {recipe.weighting.name}", f"trainer {recipe.trainer.name}"]
    if recipe.pair_weighting.name != "uniform":
        parts.insert(2, f"pair weighting {recipe.pair_weighting.name}")
    return "; ".join(parts)


def banner_line(name: str, value: str, width: int) -> Text:
    """Name and value, wrapped under the value, no blank at the end of a line."""
    room = max(20, width - NAME_WIDTH)
    text = wrapped(printable(value, limit=None), room).replace("\n", "\n" + " " * NAME_WIDTH)
    return Text(name.ljust(NAME_WIDTH), style="bold").append(text, style="not bold")


def data_line(report: DataReport) -> str:
    """One source in words: rows used, held out, dropped with reasons, format, and what is left out of the rows."""
    line = f"{report.source}: {report.used:,} of {_counted(report.rows, 'row', 'rows')} used"
    if held_out := report.counts.get("held_out"):
        line += f", {held_out:,} of them held out"
    if report.weight != 1:
        line += f", {report.counts['weighted']:,} training rows a pass by weight {report.weight:g}"
    if report.dropped:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(report.dropped.items()))
        line += f", {sum(report.dropped.values()):,} dropped ({reasons})"
    left_out = [f"{what}: {number:,}" for name, what in _NOTED.items() if (number := report.counts.get(name))]
    if report.unused_columns:
        left_out.append(f"columns not used: {', '.join(report.unused_columns)}")
    return "; ".join([line, report.format, *left_out])


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
