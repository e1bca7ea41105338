"""A sweep from file to table: its folder, its runs, and what is said of them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import Signals

from rich.console import Console

from alignkit.errors import RunFolderError, printable
from alignkit.folder import DONE, FINAL, RECIPE, recorded_recipe
from alignkit.libraries.known import Libraries
from alignkit.loop.signals import Interrupted
from alignkit.loop.threads import THREADS, cores, threads
from alignkit.progress.display import Display, Line, duration, note
from alignkit.recipe.changes import Difference, differences, limited, values_of
from alignkit.records.files import clear, one_line, write_json
from alignkit.records.lock import is_bare, locked
from alignkit.records.versions import versions
from alignkit.rewards import permission
from alignkit.sweep import claims
from alignkit.sweep.children import Child, Ended, run_all
from alignkit.sweep.claims import Claim
from alignkit.sweep.config import Keep
from alignkit.sweep.planning import PlannedRun, planned
from alignkit.sweep.read import SweepFile, read_sweep_file
from alignkit.sweep.record import SWEEP, TABLE, SweepRecord, SweepRun, read_sweep, write_sweep
from alignkit.sweep.table import Row, as_json, measured, refuse_unknown, reported, rows_of, tables_of

EVERY = 60.0
"""Seconds between two lines about a run that is going on, where there is no terminal."""


def run_sweep(
    sweep: Path | str,
    output: Path | str | None = None,
    jobs: int = 1,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> Path:
    """Runs what is left of a sweep and writes its table.

    Args:
        sweep: the file, or NAME:PATH for one of a library.
        output: its folder; None for `runs/` and the name of the file. What is finished there stays as it is.
        jobs: runs at once.
        overrides: `--set` texts, for all runs.
        console: where to print; None prints nothing.

    Returns:
        The folder.

    Raises:
        AlignkitError: the file is wrong, or the folder belongs to another sweep; nothing was begun.
        Interrupted: a signal stopped it, after the runs that were going on had saved a checkpoint.
    """
    console = console or Console(quiet=True)
    file, runs = read(sweep, overrides)
    folder = Path(output) if output is not None else Path("runs") / file.file.path.stem
    with _opened(folder):
        keeper = _Keeper(folder, _record(file, runs, overrides, folder), runs, file.sweep.keep)
        keeper.refuse_changed()
        keeper.look()
        keeper.write()
        going_on = f"alignkit sweep {shlex.quote(str(sweep))} --output {shlex.quote(str(folder))}"
        going_on += "".join(f" --set {shlex.quote(text)}" for text in overrides)
        going_on += (f" --jobs {jobs}" if jobs > 1 else "") + permission.option()
        number = _run(keeper, console, jobs)
        keeper.write()
        if number:
            stop = Interrupted(number)
            stop.message = f"stopped by {Signals(number).name}; {keeper.counted}; go on with {going_on}"
            raise stop
        _conclude(keeper, file.sweep.claims, console, going_on)
    return folder


def read(sweep: Path | str, overrides: Sequence[str]) -> tuple[SweepFile, list[PlannedRun]]:
    """A sweep file and its runs, all of them checked.

    Raises:
        RecipeError: with everything that is wrong.
        LibraryError: alignkit.toml or alignkit.lock cannot be used.
    """
    libraries = Libraries.here()
    file = read_sweep_file(str(sweep), libraries)
    runs = planned(file, overrides, libraries)
    recipes = [run.loaded.recipe for run in runs]
    refuse_unknown(file.sweep.report, recipes)
    claims.refuse_unknown(file.sweep.claims, [run.recorded() for run in runs], measured(recipes))
    return file, runs


def _record(file: SweepFile, runs: Sequence[PlannedRun], overrides: Sequence[str], folder: Path) -> SweepRecord:
    """What the sweep is, with what is known of its runs."""
    before = {run.name: run for run in read_sweep(folder).runs} if (folder / SWEEP).is_file() else {}
    fresh = [run.recorded() for run in runs]
    kept = [one.model_copy(update=_known(before.get(one.name), one)) for one in fresh]
    return SweepRecord(
        sweep=file.file.name,
        text=file.text,
        overrides=[*overrides],
        versions=versions(),
        report=file.sweep.report or list(dict.fromkeys(name for run in runs for name in reported(run.loaded.recipe))),
        runs=kept,
    )


def _known(before: SweepRun | None, now: SweepRun) -> Mapping[str, object]:
    """What stays known of a run that an earlier session tried."""
    if before is None or before.folder != now.folder or before.state != "failed":
        return {}
    return {"state": before.state, "error": before.error}


@contextmanager
def _opened(folder: Path) -> Iterator[None]:
    """The folder, made or found and locked.

    Raises:
        RunFolderError: it holds something else than a sweep, or another process has it.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder}: is a file; --output needs a folder")
    with one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
        is_ours = (folder / SWEEP).is_file() or is_bare(folder)
    if not is_ours:
        raise RunFolderError(f"{folder}: holds files but no {SWEEP}, so it is no sweep; choose another --output")
    lock = locked(folder)
    try:
        yield
    finally:
        lock.release()


class _Keeper:
    """The records of a sweep while it goes on.

    Attributes:
        folder: of the sweep.
        record: what `sweep.json` holds.
        runs: folder -> run, each once.
    """

    def __init__(self, folder: Path, record: SweepRecord, runs: Sequence[PlannedRun], keep: Keep) -> None:
        self.folder = folder
        self.record = record
        self.runs: dict[str, PlannedRun] = {}
        for run in runs:
            self.runs.setdefault(run.folder, run)
        self._keep = keep

    def refuse_changed(self) -> None:
        """Refuses runs that were begun with another recipe.

        Raises:
            RunFolderError: naming the first and what differs.
        """
        changed = [(run, found) for run in self.runs.values() if (found := _differences(self.folder / run.folder, run))]
        if changed:
            run, found = changed[0]
            more = f" (and of {len(changed) - 1} more runs)" if len(changed) > 1 else ""
            raise RunFolderError(
                f"{self.folder}: the recipe of run {run.name} differs from the one it began with: {limited(found)}"
                f"{more}; undo the change or choose another --output"
            )

    def look(self) -> None:
        """Finds out which runs are finished."""
        for folder in self.runs:
            if (self.folder / folder / DONE).is_file():
                self.note(folder, state="finished", error=None)
                self._tidy(folder)

    @property
    def left(self) -> list[PlannedRun]:
        """What is to be run."""
        states = {run.folder: run.state for run in self.record.runs}
        return [run for folder, run in self.runs.items() if states[folder] != "finished"]

    @property
    def failed(self) -> list[SweepRun]:
        """What failed, each folder once."""
        return [*{run.folder: run for run in self.record.runs if run.state == "failed"}.values()]

    @property
    def counted(self) -> str:
        """How many runs are finished."""
        return f"{len(self.runs) - len(self.left)} of {len(self.runs)} runs finished"

    def note(self, folder: str, **update: object) -> None:
        """Says something of all runs that share a folder."""
        runs = [run.model_copy(update=update) if run.folder == folder else run for run in self.record.runs]
        self.record = self.record.model_copy(update={"runs": runs})

    def end(self, ended: Ended) -> None:
        """Records the end of a run."""
        state = "failed" if ended.error else "finished"
        self.note(ended.run.folder, state=state, error=ended.error)
        self.write()
        if not ended.error:
            self._tidy(ended.run.folder)

    def write(self) -> None:
        """Writes `sweep.json`."""
        write_sweep(self.folder, self.record)

    def _tidy(self, folder: str) -> None:
        """Takes away what the sweep does not keep of a finished run."""
        for name in {"all": (), "final": ("checkpoints",), "none": ("checkpoints", FINAL)}[self._keep]:
            with one_line(self.folder / folder):
                clear(self.folder / folder / name)


def _differences(folder: Path, run: PlannedRun) -> list[Difference]:
    """What a run was begun with and the sweep has otherwise; an option that came later and asks for nothing apart."""
    if not (folder / RECIPE).is_file():
        return []
    found = differences(recorded_recipe(folder), values_of(run.text.encode(), run.name))
    return [one for one in found if not one.is_as_before]


def _run(keeper: _Keeper, console: Console, jobs: int) -> int:
    """Runs what is left; gives the signal that stopped it, or 0."""
    left, total = keeper.left, len(keeper.runs)
    shared = len(keeper.record.runs) - total
    note(console, f"{keeper.folder}: {total} runs{f' ({shared} more are equal to one of them)' if shared else ''}")
    if len(left) < total:
        note(console, f"{keeper.counted} already; {len(left)} to go")
    if (count := threads(jobs)) is not None and left:
        note(console, f"{jobs} at once, each with {count} of {cores()} threads ({THREADS})")
    for run in keeper.failed:
        note(console, f"failed before, tried again: {run.name}: {run.error}")
    scene = _Scene(Display(console, every=EVERY), total - len(left), total)

    def end(ended: Ended) -> None:
        keeper.end(ended)
        scene.end(ended)

    try:
        return run_all(left, keeper.folder, jobs, end, scene.look)
    finally:
        scene.close()


class _Scene:
    """What a terminal shows of runs that are going on, a line each; elsewhere a line when one ends, or takes long."""

    def __init__(self, display: Display, done: int, total: int) -> None:
        self._display = display
        self._done = done
        self._total = total
        self._lines: dict[str, Line] = {}

    def look(self, going: Sequence[Child]) -> None:
        """Shows what each run is doing."""
        for child in going:
            if child.run.name not in self._lines:
                self._lines[child.run.name] = self._display.open()
                if not self._display.is_live:
                    self._lines[child.run.name].last_shown = self._display.clock()
            line = self._lines[child.run.name]
            if line.is_due:
                seconds = duration(self._display.clock() - child.began)
                line.show([child.run.name, seconds, child.doing], self._done, self._total)

    def end(self, ended: Ended) -> None:
        """Tells what came of a run."""
        self._done += 1
        if line := self._lines.pop(ended.run.name, None):
            self._display.close(line, stays=False)
        said = f"failed: {ended.error}" if ended.error else "finished"
        note(self._display.console, f"[{self._done}/{self._total}] {ended.run.name} {said} ({duration(ended.seconds)})")

    def close(self) -> None:
        """Takes all lines away."""
        self._display.shut()


def _conclude(keeper: _Keeper, of: Sequence[Claim], console: Console, going_on: str) -> None:
    """Writes and shows the table."""
    measures = keeper.record.report or []
    rows = rows_of(keeper.record, keeper.folder)
    outcomes = claims.tested(of, keeper.record.runs, keeper.folder)
    write_json(keeper.folder / TABLE, {**as_json(rows, measures), "claims": claims.as_json(outcomes)})
    for table in tables_of(rows, measures, console.width):
        console.print(table)
    note(console, _what_intervals_are(rows))
    if outcomes:
        console.print(claims.table_of(outcomes))
        note(console, claims.WHAT_VERDICTS_ARE)
    for run in keeper.failed:
        note(console, f"failed: {run.name}: {run.error} (log: {keeper.folder}/logs/{run.name}.log)")
    if keeper.failed:
        note(console, f"{keeper.counted}; once mended, try the others again with {going_on}")
    note(console, f"sweep folder: {keeper.folder}")


def _what_intervals_are(rows: Sequence[Row]) -> str:
    if all(len(row.seeds) < 2 for row in rows):
        return "+- is half of the 95 % interval over one run's prompts; other seeds were not tried"
    return "+- is half of the 95 % interval of the mean over seeds (Student's t); of one seed that over its prompts"


def describe(file: SweepFile, runs: Sequence[PlannedRun]) -> Iterator[str]:
    """The runs of a sweep, a line each, for `--dry-run`."""
    folders = {run.folder for run in runs}
    yield f"{printable(file.file.name)}: {len(runs)} runs, {len(folders)} of them different"
    for run in runs:
        same = "" if run.folder.endswith(f"/{run.name}") else f", equal to {run.folder.rpartition('/')[2]}"
        settings = json.dumps({**run.settings, "seed": run.loaded.recipe.seed}, ensure_ascii=False)
        yield printable(f"{run.name}: {run.recipe} {settings}{same}", None)
