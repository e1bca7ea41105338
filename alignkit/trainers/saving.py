"""What a checkpoint holds of a training, written and read back by all of its processes together."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignkit.errors import CheckpointError
from alignkit.lazy import accelerate
from alignkit.trainers import optimizer
from alignkit.trainers.checkpoint import (
    CheckpointFolder,
    check_same,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)
from alignkit.trainers.config import FREE_ON_RESUME, TrainingConfig
from alignkit.trainers.step import TrainingStep

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn
    from torch.optim import Optimizer


@dataclass
class Saver:
    """Saves and restores a training.

    Attributes:
        folder: where the checkpoints are.
        step: whose own state is saved, per process.
        parameters: the trained ones.
        optimizer: what remembers something of each of them.
        accelerator: for the agreement between processes.
        made_with: what must be equal for a checkpoint to be resumed from.
        on_note: gets what the user should know about a resume, on the main process.
        last_good: the newest checkpoint written or resumed from.
    """

    folder: CheckpointFolder
    step: TrainingStep
    parameters: Mapping[str, nn.Parameter]
    optimizer: Optimizer
    accelerator: Accelerator
    made_with: Mapping[str, Any]
    on_note: Callable[[str], None]
    last_good: Path | None = None

    def save(self, done: int, facts: Mapping[str, Any]) -> None:
        """Writes the checkpoint after `done` optimizer steps; `facts` are JSON values that `restore` gives back."""
        if self.accelerator.is_main_process:
            self.folder.begin(done)
        self.accelerator.wait_for_everyone()
        staging = self.folder.staging(done)
        write_tensors(staging / self._state_file(), self.step.state())
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            write_tensors(staging / "parameters.safetensors", self.parameters)
            remembered = optimizer.optimizer_tensors(self.optimizer, self.parameters)
            write_tensors(staging / "optimizer.safetensors", remembered)
            record = {"step": done, **facts, "made_with": self.made_with, "versions": _versions()}
            write_json(staging / "state.json", record)
            self.folder.commit(done)
        self.accelerator.wait_for_everyone()
        self.last_good = self.folder.path(done)

    def restore(self) -> dict[str, Any]:
        """Puts the newest good checkpoint back; returns its `step` and facts, or nothing when none was written yet.

        Raises:
            CheckpointError: all checkpoints are damaged, or the newest good one was made by another run.
        """
        path = self.last_good = self._find()
        if path is None:
            self._note("no checkpoint to resume from; starting at step 1")
            return {}
        record = read_json(path / "state.json")
        check_same(path, record["made_with"], self.made_with)
        optimizer.load_parameters(self.parameters, read_tensors(path / "parameters.safetensors"), path)
        remembered = read_tensors(path / "optimizer.safetensors")
        optimizer.load_optimizer_tensors(self.optimizer, self.parameters, remembered)
        self.step.load_state(read_tensors(path / self._state_file()))
        if record["versions"] != _versions():
            self._note(f"{path}: made with {record['versions']}, now {_versions()}; the last bits may differ")
        self._note(f"resuming after step {record['step']} from {path}")
        return record

    def _find(self) -> Path | None:
        """The main process looks, the others are told, so that all take the same one."""
        found: list[Any] = [None]
        if self.accelerator.is_main_process:
            try:
                found[0] = self.folder.newest()
            except CheckpointError as error:
                found[0] = error
        accelerate.utils.broadcast_object_list(found)
        if isinstance(found[0], CheckpointError):
            raise found[0]
        for note in found[0].notes:
            self._note(note)
        path: Path | None = found[0].path
        return path

    def _state_file(self) -> str:
        return f"step-state-{self.accelerator.process_index:05d}.safetensors"

    def _note(self, text: str) -> None:
        if self.accelerator.is_main_process:
            self.on_note(text)


def made_with(
    fingerprint: Mapping[str, Any], config: TrainingConfig, seed: int, num_rows: int, num_processes: int
) -> dict[str, Any]:
    """Everything that decides what is trained, as it reads back from JSON."""
    training = {f"training.{key}": value for key, value in config if key not in FREE_ON_RESUME}
    facts = {**fingerprint, **training, "seed": seed, "rows": num_rows, "processes": num_processes}
    same: dict[str, Any] = json.loads(json.dumps(facts))
    return same


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("alignkit", "torch", "transformers", "accelerate")}
