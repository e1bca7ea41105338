"""What a run keeps while it goes on: its folder on every process, evaluations, model card, and words about them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from alignkit.data.naming import commits
from alignkit.data.raw import first_line
from alignkit.errors import AlignkitError
from alignkit.evaluation.config import EvaluationConfig
from alignkit.evaluation.records import read_records, write_records
from alignkit.evaluation.tokens import MOST_ROWS
from alignkit.folder import RunFolder, resume_command
from alignkit.inspector.view import REPORT, write_report
from alignkit.lazy import accelerate
from alignkit.loop.agreement import same_folder
from alignkit.prepared import Parts, Prepared
from alignkit.progress.display import note
from alignkit.recipe.load import LoadedRecipe
from alignkit.report.card import ModelCard, write_card
from alignkit.report.outcome import show_outcome
from alignkit.report.weights import weight_heatmaps

State = Literal["new", "resumed", "finished"]


@dataclass(frozen=True)
class Whole:
    """The pipeline that a run is a stage of.

    Attributes:
        path: its folder.
        record: writes what it is; called on the main process when a stage begins or goes on.
    """

    path: Path
    record: Callable[[], None]


@dataclass(frozen=True)
class Keeper:
    """The records of one run, written by its main process; the others call the same methods and write nothing.

    Attributes:
        console: where to print.
        loaded: the recipe.
        path: the run folder.
        folder: the same, open; None on other processes than the main one.
        state: what was found in it.
        whole: the pipeline that it is a stage of, if it is one.
    """

    console: Console
    loaded: LoadedRecipe
    path: Path
    folder: RunFolder | None
    state: State
    whole: Whole | None = None

    @property
    def goes_on_with(self) -> str:
        """The command that goes on after a signal."""
        return resume_command(self.whole.path if self.whole else self.path)

    def begin(self, fingerprints: Mapping[str, str]) -> None:
        """Records what the run is."""
        if self.folder:
            loaded = self.loaded
            if self.whole and not self.folder.resumed:
                self.whole.record()  # first, as a stage without its pipeline could not be resumed
            self.folder.begin(
                loaded.to_yaml(origin=True),
                seed=loaded.recipe.seed,
                command=sys.argv,
                fingerprints=fingerprints,
                plugins=loaded.plugins,
                libraries=loaded.libraries,
            )

    def record_data(self, parts: Parts) -> None:
        """Records what the rows are and which revisions came from the Hub."""
        if self.folder:
            recipe = self.loaded.recipe
            revisions = recipe.model.commits() | commits(recipe.data)
            self.folder.record_data(is_chat=parts.tables.reports[0].is_chat, revisions=revisions)

    def go_on(self, done: int) -> None:
        """Records that a resumed run goes on after so many steps."""
        if self.folder:
            self.folder.go_on(done)
            if self.whole and self.folder.resumed:
                self.whole.record()

    def note(self, text: str) -> None:
        """Tells the user, in one line."""
        note(self.console, text)

    def stopped(self, number: int, when: str) -> str:
        """What a user reads after a signal."""
        has_begun = (self.path / "recipe.yaml").exists()
        advice = f"go on with {self.goes_on_with}" if has_begun else "nothing was trained"
        return f"stopped by {Signals(number).name} {when}; {advice}"

    def evaluate(self, prepared: Prepared, moment: Literal["before", "after"]) -> dict[str, float]:
        """Measures the policy, unless an interrupted run recorded the same moment already, and records it."""
        recorded = self.folder.evaluations() if self.folder and moment == "before" else {}
        known: list[dict[str, float] | None] = [recorded.get(moment)]
        while self.folder and self.folder.notes:
            self.note(self.folder.notes.pop(0))
        accelerate.utils.broadcast_object_list(known)
        if known[0] is not None:
            return known[0]
        config = prepared.evaluation.config
        if moment == "before" and not config.before:
            return {}
        scored = max(1, config.looked_at("rows"))  # of further rows nothing was computed before training
        measured = prepared.evaluation.measure(tokens=min(MOST_ROWS, scored) if config.report else 0)
        if self.folder:
            if measured.trouble:
                self.note(measured.trouble)
            write_records(self.path, moment, measured)
            self.folder.record_evaluation(moment, measured.summary)
        return measured.summary

    def save(self, prepared: Prepared, before: Mapping[str, float]) -> None:
        """Saves the model, with a card that does not know yet what came of it."""
        state = prepared.parts.policy.state()
        if self.folder:
            prepared.parts.policy.save(self.folder.final, state)
            write_card(self.folder.final, _card(prepared.parts, self.folder, before))

    def finish(self, prepared: Prepared, before: Mapping[str, float], after: Mapping[str, float]) -> None:
        """Records what came of it, shows it, and marks the run as done."""
        if self.folder:
            config = prepared.evaluation.config
            titles = [benchmark.title for benchmark in config.benchmarks]
            old = read_records(self.path, "before", before, config.chosen, titles)
            new = read_records(self.path, "after", after, config.chosen, titles)
            change = new.since(old)
            self.folder.record_evaluation("change", change)
            write_card(self.folder.final, _card(prepared.parts, self.folder, before, after, change))
            show_outcome(self.console, self.path / "metrics.jsonl", (before, after, change), old, new)
        for panel in weight_heatmaps(prepared.step.scoring, prepared.setup.looked_up.rows[0]):
            self.console.print(panel)
        if self.whole is None:
            prepared.parts.accelerator.end_training()
        else:  # the next stage needs the group of the processes
            for tracker in prepared.parts.accelerator.trackers:
                tracker.finish()
        if self.folder:
            self.folder.finish()
            self._report(prepared.evaluation.config)
        self.console.print(Text(f"run folder: {self.path}"))

    def _report(self, config: EvaluationConfig) -> None:
        """Writes `report.html`; a run is not lost for the want of a page."""
        if not config.report:
            return
        try:
            write_report(self.path, self.path / REPORT)
        except Exception as error:
            self.note(
                f"{self.path / REPORT}: not written: {first_line(error)}; alignkit inspect {self.path} tries again"
            )
        else:
            self.console.print(Text(f"report: {self.path / REPORT}"))


@contextmanager
def keeping(
    console: Console, loaded: LoadedRecipe, output: Path | None, *, resume: bool, whole: Whole | None = None
) -> Iterator[Keeper]:
    """The run's folder, found or made and locked, as long as it is entered.

    Args:
        console: where to print.
        loaded: the recipe.
        output: run folder; None makes a new one below `runs/`.
        resume: go on with the run in `output`, or begin one there when there is none yet.
        whole: the pipeline that the run is a stage of.

    Raises:
        AlignkitError: the folder cannot be had, or not by all processes; on every process.
    """
    folder: RunFolder | None = None
    outcome: list[Any] = [None]
    if accelerate.PartialState().is_main_process:
        try:
            folder = RunFolder.open(output, loaded.path.name, resume=resume)
            is_idle = folder.nothing_left(loaded.to_yaml())
            outcome = [(folder.path, "finished" if is_idle else "resumed" if folder.resumed else "new")]
        except AlignkitError as error:
            outcome = [error]
    accelerate.utils.broadcast_object_list(outcome)  # or the other processes would wait for a refused folder
    try:
        if isinstance(outcome[0], AlignkitError):
            raise outcome[0]
        path, state = outcome[0]
        same_folder(path)
        yield Keeper(console, loaded, path, folder, state, whole)
    finally:
        if folder:
            folder.remove_if_unused()
            folder.close()


def _card(
    parts: Parts,
    folder: RunFolder,
    before: Mapping[str, float],
    after: Mapping[str, float] | None = None,
    change: Mapping[str, float] | None = None,
) -> ModelCard:
    record = folder.record()
    return ModelCard(
        recipe=parts.loaded.recipe,
        recipe_text=parts.loaded.to_yaml(),
        has_adapter=parts.policy.has_adapter,
        reports=parts.tables.reports,
        fingerprints=parts.fingerprints,
        command=record.command,
        versions=record.versions,
        before=before,
        after=after or {},
        change=change or {},
        revisions=record.revisions,
    )
