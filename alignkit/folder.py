"""The run folder: everything one run leaves behind, owned by one process at a time.

Only the main process of a run opens it; the class knows nothing of the others.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self, get_args

import filelock
from pydantic import JsonValue

from alignkit.errors import RunFolderError
from alignkit.loop.config import FREE_ON_RESUME
from alignkit.recipe.changes import MAX_RECIPE_BYTES, Difference, differences, limited, may_change, values_of
from alignkit.records.files import json_text, one_line, read_record, write_json, write_text
from alignkit.records.lock import HOLDER, LOCK, locked
from alignkit.records.run_record import Evaluations, Moment, Resumption, RunRecord, Session
from alignkit.records.versions import versions
from alignkit.rewards import permission

RECIPE = "recipe.yaml"
RUN = "run.json"
EVALUATIONS = "eval.json"
DONE = "DONE"
FINAL = "final"

LAUNCHED = "ALIGNKIT_LAUNCHED"
"""Set by `alignkit launch` to those of its own options that say where the processes are."""


class RunFolder:
    """One run's folder, locked while it is open. Made by `open`, used as a context manager.

    The training loop adds `metrics.jsonl` and `checkpoints/` to what is recorded here.

    Attributes:
        path: the folder.
        resumed: True when it holds a run that goes on.
        finished: True when that run had come to its end.
        notes: what the user should know of the records, a line each.
    """

    def __init__(self, path: Path, lock: filelock.BaseFileLock, *, resumed: bool) -> None:
        self.path = path
        self.resumed = resumed
        self.finished = (path / DONE).exists()
        self.notes: list[str] = []
        self._lock = lock
        self._has_begun = False
        self._changes: list[Difference] = []

    @classmethod
    def open(cls, output: Path | None, recipe_name: str, *, resume: bool) -> Self:
        """Creates the folder, or continues the run in it, and locks it.

        Args:
            output: the folder; None makes a new one, `runs/<recipe>-<date>-<time>`, in the working directory.
            recipe_name: path of the recipe; its stem names the new folder.
            resume: continue the run in `output`, if there is one.

        Raises:
            RunFolderError: it is in use, holds a run without `resume`, holds other files, or cannot be written.
        """
        if output is None and resume:
            raise RunFolderError("--resume: needs --output DIR, the run folder to continue")
        path = _new_default(recipe_name) if output is None else _suitable(output)
        lock = locked(path)
        try:
            is_new = _is_new(path)
            if not is_new and not resume:
                state, advice = ("a finished", "") if (path / DONE).exists() else ("an unfinished", "continue it")
                advice = advice or "extend it with a larger training.steps"
                raise RunFolderError(f"{path}: holds {state} run; add --resume to {advice} or choose another --output")
        except RunFolderError:
            lock.release()
            raise
        return cls(path, lock, resumed=not is_new)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def remove_if_unused(self) -> None:
        """Removes the folder when nothing was recorded in it, as after a mistake in the data; call before `close`."""
        if _is_new(self.path):
            shutil.rmtree(self.path, ignore_errors=True)  # Windows keeps a locked file

    def close(self) -> None:
        """Gives up the lock. The file stays: removing it could take the lock from under the next process."""
        self._lock.release()

    @property
    def final(self) -> Path:
        """`final/`, the trained model or adapter with its tokenizer."""
        return self.path / FINAL

    # --- what the run is ---

    def begin(
        self,
        recipe: str,
        *,
        seed: int,
        command: Sequence[str],
        fingerprints: Mapping[str, str],
        plugins: Mapping[str, str] | None = None,
        libraries: Mapping[str, str] | None = None,
    ) -> None:
        """Records recipe and start of a new run, once; of a resumed one insists that it is the same run.

        Args:
            recipe: YAML of all values.
            seed: the recipe's seed.
            command: the command line, one string per argument.
            fingerprints: what went in (`data`, `template`, `model`) -> hash, hex.
            plugins: package -> version, or trusted file -> hash, of the plugins that the recipe names.
            libraries: name -> version and commit, of the libraries that the recipe was put together from.

        Raises:
            RunFolderError: a value or a fingerprint differs from the run's beginning; the message names the keys.
        """
        if self._has_begun:
            return
        self._session = Session(
            command=[*command],
            started=_now(),
            platform=platform.platform(),
            versions=versions(),
            plugins={**(plugins or {})},
            libraries={**(libraries or {})},
        )
        self._recipe = recipe
        self._changes = self.changes(recipe) if self.resumed else []
        if not self.resumed:
            write_text(self.path / RECIPE, recipe)
        # A run that died before it wrote its record is begun anew: nothing was trained yet.
        if not (self.resumed and (self.path / RUN).exists()):
            first = self._session.model_dump()
            self._write(RunRecord(**first, ended=None, seed=seed, fingerprints={**fingerprints}, resumed=[]))
        else:
            self._insist(fingerprints)
        self._has_begun = True

    def record_data(self, *, is_chat: bool, revisions: Mapping[str, str | None]) -> None:
        """Adds to a run's beginning what its data and model were, once.

        Args:
            is_chat: whether the rows are conversations.
            revisions: what came from the Hub -> its commit, None where that is not known.
        """
        record = self.record()
        if record.is_chat is None:
            self._write(record.model_copy(update={"is_chat": is_chat, "revisions": {**revisions}}))

    def changes(self, recipe: str) -> list[Difference]:
        """What differs from the recipe that the run began with, as far as a resumed run may change it.

        Comments, such as provenance, may differ: a value may come from another file or from `--set` now. The schedule
        may, as long as the steps done keep their learning rates; the loop sees to that.

        Raises:
            RunFolderError: something else differs, or the recorded recipe cannot be read.
        """
        found = differences(recorded_recipe(self.path), values_of(recipe.encode(), "recipe"))
        found = [one for one in found if not one.is_as_before]
        refused = [one for one in found if not may_change(one.key)]
        if refused:
            raise RunFolderError(
                f"{self.path}: cannot resume: the recipe differs from the one the run began with: "
                f"{limited(refused)}; undo the change or choose another --output"
            )
        return found

    def nothing_left(self, recipe: str) -> bool:
        """Whether the run is finished and `recipe` asks for nothing that it has not done.

        Raises:
            RunFolderError: `recipe` is another one.
        """
        idle = {f"training.{key}" for key in FREE_ON_RESUME}
        return self.finished and self.resumed and all(one.key in idle for one in self.changes(recipe))

    def go_on(self, done: int) -> None:
        """Records the session of a resumed run, and what it changes in the recipe, once it is certain to go on.

        Args:
            done: optimizer steps that it finds done.

        Raises:
            RunFolderError: a finished run has no checkpoint to go on from.
        """
        if not self.resumed:
            return
        if self.finished and done == 0:
            raise RunFolderError(
                f"{self.path}: its run is finished and no checkpoint is left to go on from; choose another --output"
            )
        if self._changes:
            write_text(self.path / RECIPE, self._recipe)
        record = self.record()
        changes = {one.key: f"{one.before}, now {one.now}" for one in self._changes}
        resumption = Resumption(**self._session.model_dump(), changes=changes)
        self._write(record.model_copy(update={"resumed": [*record.resumed, resumption], "ended": None}))
        known, _ = self._evaluations()
        if known.keys() - {"before"}:  # of the shorter training
            self._write_evaluations({moment: known[moment] for moment in known if moment == "before"})
        self.reopen()

    def _insist(self, fingerprints: Mapping[str, str]) -> None:
        found = differences(self.record().fingerprints, fingerprints)
        if found:
            raise RunFolderError(
                f"{self.path}: cannot resume: fingerprints differ from those the run began with: "
                f"{limited(found)}; bring back what changed or choose another --output"
            )

    # --- what came of it ---

    def record_evaluation(self, moment: Moment, values: Mapping[str, float]) -> None:
        """Adds an evaluation to `eval.json`; its hash goes to `run.json` first, without which it is not believed."""
        finite = {key: float(value) if math.isfinite(value) else None for key, value in values.items()}
        known, _ = self._evaluations()
        self._write_evaluations({**known, moment: finite})

    def evaluations(self) -> dict[str, dict[str, float]]:
        """What `eval.json` holds, as it was written; null is NaN again.

        What was changed since, or was measured under other settings than this session's, is left out, to be measured
        again.
        """
        if any(one.key.startswith("evaluation.") for one in self._changes):
            return {}
        known, notes = self._evaluations()
        self.notes += notes
        return {
            moment: {key: math.nan if value is None else value for key, value in values.items()}
            for moment, values in known.items()
        }

    def _write_evaluations(self, values: Mapping[str, Mapping[str, float | None]]) -> None:
        hashes = {moment: _digest(measured) for moment, measured in values.items()}
        self._write(self.record().model_copy(update={"evaluations": hashes}))
        write_json(self.path / EVALUATIONS, values)

    def _evaluations(self) -> tuple[dict[str, dict[str, float | None]], list[str]]:
        """What can be believed, and a line about everything else."""
        path = self.path / EVALUATIONS
        known: dict[str, dict[str, float | None]] = {}
        if not path.exists():
            return known, []
        hashes = self.record().evaluations
        try:
            recorded = read_record(path, Evaluations)
        except RunFolderError as error:
            return known, [f"{error}; measuring again"]
        notes = []
        for moment in get_args(Moment):
            values = getattr(recorded, moment)
            if values is not None and hashes.get(moment) == _digest(values):
                known[moment] = values
            elif values is not None:
                notes.append(f"{path}: '{moment}' is not what was written (sha256); measuring again")
        return known, notes

    def finish(self) -> None:
        """Records the end in `run.json`, then writes `DONE`: a run that has it took all its steps."""
        ended = _now()
        self._write(self.record().model_copy(update={"ended": ended}))
        self.mark_done(ended)

    def mark_done(self, ended: str | None = None) -> None:
        """Writes `DONE` with the time of the end, now unless it is given."""
        write_text(self.path / DONE, f"{ended or _now()}\n")

    def reopen(self) -> None:
        """Takes `DONE` away, as there is work to do again."""
        with one_line(self.path / DONE):
            (self.path / DONE).unlink(missing_ok=True)

    def record(self) -> RunRecord:
        """What `run.json` holds.

        Raises:
            RunFolderError: it is missing or damaged.
        """
        return read_record(self.path / RUN, RunRecord)

    def _write(self, record: RunRecord) -> None:
        write_json(self.path / RUN, record.model_dump(mode="json"))


def recorded_recipe(path: Path) -> JsonValue:
    """The values of the recipe that a run folder recorded.

    Raises:
        RunFolderError: it cannot be read.
    """
    file = path / RECIPE
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_RECIPE_BYTES + 1)
    except OSError as error:
        raise RunFolderError(f"{file}: cannot be read: {error.strerror}; restore it or start a new run") from None
    return values_of(content, str(file))


def resume_command(path: Path) -> str:
    """What a user types to go on with the run in `path`."""
    folder, launched = shlex.quote(str(path)), os.environ.get(LAUNCHED)
    if launched is None:
        return f"alignkit run {folder} --resume{permission.option()}"
    return f"alignkit launch {folder} {launched}{' ' if launched else ''}-- --resume{permission.option()}"


def _new_default(recipe_name: str) -> Path:
    """A folder that did not exist before; making it is what claims its name."""
    stem = Path(recipe_name).name.rpartition(":")[2].removesuffix(".yaml").removesuffix(".yml")
    first = Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    with one_line(first):
        first.parent.mkdir(exist_ok=True)
        for number in count(1):
            path = first if number == 1 else first.with_name(f"{first.name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    raise AssertionError("count never ends")


def _suitable(path: Path) -> Path:
    """`path`, created if it is missing; refused when it is not ours, before a lock file is left in it."""
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path}: is a file; --output needs a folder")
    with one_line(path):
        path.mkdir(parents=True, exist_ok=True)
        is_ours = _is_new(path) or (path / RECIPE).exists()
    if not is_ours:
        raise RunFolderError(
            f"{path}: holds files but no recipe.yaml, so it is not a run folder; choose another --output"
        )
    return path


def _is_new(path: Path) -> bool:
    """Whether nothing was recorded here yet; a crash before the first record may leave the lock and a temporary."""
    return all(entry.name in (LOCK, HOLDER) or entry.name.startswith(".recipe.yaml.") for entry in path.iterdir())


def _digest(values: Mapping[str, float | None]) -> str:
    return hashlib.sha256(json_text(values).encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
