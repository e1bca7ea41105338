"""What a checkpoint holds of a training, written and read back by all of its processes together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from alignkit.errors import AlignkitError, CheckpointError, NonFiniteError, RunFolderError
from alignkit.lazy import accelerate
from alignkit.loop import optimizer
from alignkit.loop.checkpoint import (
    MODEL,
    OPTIMIZER,
    STATE,
    CheckpointFolder,
    check_same,
    read_tensors,
    write_tensors,
)
from alignkit.loop.config import CAME_LATER, FREE_ON_RESUME, SCHEDULE, TrainingConfig
from alignkit.loop.metrics import LogMark
from alignkit.loop.schedule import check_rates
from alignkit.loop.step import TrainingStep
from alignkit.parallel.tensors import gathered
from alignkit.records.files import Record, json_text, read_record
from alignkit.records.versions import versions

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn
    from torch.optim import Optimizer

STEP_STATE = "step-state-{}.safetensors"
"""What the step keeps beside the model, a file of each process."""

SHARED_STATE = "step-state.safetensors"
"""What it keeps that all processes have alike; there where there is any."""

PROCESSES = "processes"
"""A checkpoint says how many made it; another number may go on with it."""


class State(Record):
    """`state.json` of a checkpoint."""

    step: int = Field(ge=0)
    """Optimizer steps done."""

    epoch: float = Field(ge=0)
    """Passes over the rows done."""

    log: LogMark
    """How far `metrics.jsonl` had come."""

    made_with: dict[str, Any]
    """Everything that decides what is trained."""

    versions: dict[str, str]
    """Of Python and packages."""


@dataclass
class Saver:
    """Saves and restores a training.

    Attributes:
        folder: where the checkpoints are.
        step: whose model and own state, per process, are saved.
        parameters: the trained ones.
        optimizer: what remembers something of each of them.
        accelerator: for the agreement between processes.
        config: how this run trains.
        made_with: what must be equal for a checkpoint to be resumed from, but for the schedule.
        on_note: gets what the user should know about a resume, on the main process.
        last_good: the newest checkpoint written or resumed from.
    """

    folder: CheckpointFolder
    step: TrainingStep
    parameters: Mapping[str, nn.Parameter]
    optimizer: Optimizer
    accelerator: Accelerator
    config: TrainingConfig
    made_with: Mapping[str, Any]
    on_note: Callable[[str], None]
    last_good: Path | None = None

    def save(self, done: int, epoch: float, log: LogMark | None) -> None:
        """Writes the checkpoint after `done` optimizer steps; `log` is there on the main process.

        Raises:
            NonFiniteError: something that would be saved is NaN or infinite.
            RunFolderError: the disk is full, read-only or gone; older checkpoints are untouched.
        """
        remembered = optimizer.optimizer_tensors(self.optimizer, self.parameters)
        if name := optimizer.not_finite({**self.parameters, **remembered}):
            raise NonFiniteError(
                f"step {done}: '{name}' is NaN or infinite; no checkpoint was written; "
                f"last good checkpoint: {self.last_good or 'none'}"
            )
        if self.accelerator.is_main_process:
            self.folder.begin(done)
        self.accelerator.wait_for_everyone()
        with self.folder.writing(done) as staging:
            write_tensors(staging / self._state_file(), self.step.state())
        self.accelerator.wait_for_everyone()
        is_main = self.accelerator.is_main_process
        model, remembered = self.step.model_state(), gathered(remembered, keep=is_main)
        shared = self.step.shared_state()
        if is_main:
            assert log is not None
            with self.folder.writing(done) as staging:
                self.step.save_model(staging / MODEL, model)
                write_tensors(staging / OPTIMIZER, remembered)
                if shared:
                    write_tensors(staging / SHARED_STATE, shared)
                state = State(step=done, epoch=epoch, log=log, made_with={**self.made_with}, versions=versions())
                (staging / STATE).write_text(json_text(state.model_dump()), encoding="utf-8")
            self.folder.commit(done)
        self.accelerator.wait_for_everyone()
        self.last_good = self.folder.path(done)

    def restore(self) -> State | None:
        """Puts the newest good checkpoint back; returns its record, or None when none was written yet.

        Raises:
            CheckpointError: all checkpoints are damaged, or the newest good one was made by another run.
        """
        path = self.last_good = self._find()
        if path is None:
            self._note("no checkpoint to resume from; starting at step 1")
            return None
        state = self._read_state(path)
        parameters = self.step.stored_parameters(path / MODEL)
        optimizer.load_parameters(self.parameters, parameters, path)
        remembered = read_tensors(path / OPTIMIZER)
        optimizer.load_optimizer_tensors(self.optimizer, self.parameters, remembered, path)
        self.step.load_state(*self._step_states(path, state))
        self.step.load_shared_state(read_tensors(path / SHARED_STATE) if (path / SHARED_STATE).exists() else {})
        now = versions()
        if changed := sorted(name for name in now if state.versions.get(name) != now[name]):
            listed = ", ".join(f"{name} {state.versions.get(name, 'none')}, now {now[name]}" for name in changed)
            self._note(f"{path}: made with {listed}; the last bits may differ")
        self._note(f"resuming after step {state.step} from {path}")
        return state

    def _step_states(self, path: Path, state: State) -> list[dict[str, Tensor]]:
        """This process's own, or those of all where there were more or fewer of them."""
        before, now = state.made_with.get(PROCESSES), self.accelerator.num_processes
        if before == now:
            return [read_tensors(path / self._state_file())]
        self._note(f"{path}: made by {before} processes, now {now}; the last bits may differ")
        return [read_tensors(file) for file in sorted(path.glob(STEP_STATE.format("*")))]

    def _read_state(self, path: Path) -> State:
        try:
            state = read_record(path / STATE, State)
        except RunFolderError as error:
            raise CheckpointError(str(error)) from None
        if self.folder.path(state.step).name != path.name:
            raise CheckpointError(
                f"{path / STATE}: says step {state.step}, which is not the folder's; "
                "remove the folder to resume from an older checkpoint, or start a new run"
            )
        apart = {PROCESSES, *(f"training.{key}" for key in SCHEDULE)}
        before, now = (
            {key: value for key, value in facts.items() if key not in apart}
            for facts in (CAME_LATER | state.made_with, self.made_with)
        )
        check_same(path, before, now)
        check_rates(path, state.made_with, self.config, int(self.made_with["rows"]), state.step, self.step.updates)
        return state

    def _find(self) -> Path | None:
        """The main process looks, the others are told, so that all take the same one."""
        found: list[Any] = [None]
        if self.accelerator.is_main_process:
            try:
                found[0] = self.folder.newest()
            except AlignkitError as error:
                found[0] = error
        accelerate.utils.broadcast_object_list(found)
        if isinstance(found[0], AlignkitError):
            raise found[0]
        for note in found[0].notes:
            self._note(note)
        path: Path | None = found[0].path
        return path

    def _state_file(self) -> str:
        return STEP_STATE.format(f"{self.accelerator.process_index:05d}")

    def _note(self, text: str) -> None:
        if self.accelerator.is_main_process:
            self.on_note(text)


def made_with(
    fingerprint: Mapping[str, Any], config: TrainingConfig, seed: int, num_rows: int, num_processes: int
) -> dict[str, Any]:
    """Everything that decides what is trained, as it reads back from JSON."""
    training = {f"training.{key}": value for key, value in config if key not in FREE_ON_RESUME}
    facts = {**fingerprint, **training, "seed": seed, "rows": num_rows, PROCESSES: num_processes}
    same: dict[str, Any] = json.loads(json.dumps(facts))
    return same
