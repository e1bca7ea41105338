"""Checkpoints that survive a crash at any moment: staged, fsynced, given a manifest, then renamed into place.

Tensors are safetensors, the rest is JSON; no pickle is written or read. A folder `step-00000100` is complete by
construction, and its manifest (size and sha256 of every file) shows damage that came later. Its `model/` is a model
that transformers or peft load.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from alignkit.errors import CheckpointError, RunFolderError
from alignkit.lazy import safetensors, safetensors_torch
from alignkit.records.files import Record, clear, discard, json_text, one_line, publish, read_record

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "manifest.json"
STATE = "state.json"
OPTIMIZER = "optimizer.safetensors"
MODEL = "model"
STAGING = ".staging-"


class Fingerprint(Record):
    """Of one file."""

    size: int = Field(ge=0)
    """Bytes."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of its content."""


class Manifest(Record):
    """What a checkpoint vouches for."""

    files: dict[str, Fingerprint]
    """Every file, by its path below the checkpoint."""


@dataclass(frozen=True)
class Found:
    """What there is to resume from.

    Attributes:
        path: the newest checkpoint that verifies; None when none was written yet.
        notes: one line about each newer one that is damaged.
    """

    path: Path | None
    notes: tuple[str, ...] = ()


class CheckpointFolder:
    """The `checkpoints/` folder of a run.

    Args:
        folder: where it is; made when the first checkpoint is.
        keep: newest checkpoints that are kept.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def path(self, step: int) -> Path:
        """Folder of the checkpoint after `step` optimizer steps."""
        return self.folder / f"step-{step:08d}"

    def staging(self, step: int) -> Path:
        """Folder that the checkpoint is written in."""
        return self.folder / f"{STAGING}{step:08d}"

    def all(self) -> list[Path]:
        """The checkpoints, oldest first; a link is none, since what it leads to may be anybody's."""
        named = (path for path in self.folder.glob("step-*") if re.fullmatch(r"step-\d{8,12}", path.name))
        folders = (path for path in named if path.is_dir() and not path.is_symlink())
        return sorted(folders, key=lambda path: int(path.name[5:]))

    def begin(self, step: int) -> Path:
        """An empty staging folder; what a killed run left of its own is removed.

        Raises:
            RunFolderError: the disk is full, read-only or gone.
        """
        with one_line(self.folder):
            for left_over in self.folder.glob(f"{STAGING}*"):
                clear(left_over)
            staging = self.staging(step)
            staging.mkdir(parents=True)
        return staging

    @contextmanager
    def writing(self, step: int) -> Iterator[Path]:
        """The staging folder; what is half written is removed when it cannot be completed, and said in one line."""
        staging = self.staging(step)
        try:
            with one_line(self.path(step)):
                yield staging
        except BaseException:
            discard(staging)
            raise

    def commit(self, step: int) -> Path:
        """Turns the staging folder into a checkpoint, then removes the oldest ones.

        Raises:
            RunFolderError: the disk is full, read-only or gone; the older checkpoints are untouched.
        """
        with self.writing(step) as staging:
            files = {name: _fingerprint(staging / name).model_dump() for name in _names(staging)}
            (staging / MANIFEST).write_text(json_text({"files": files}), encoding="utf-8")
        publish(staging, self.path(step))
        with one_line(self.folder):
            for old in self.all()[: -self.keep]:
                self._remove(old)
        return self.path(step)

    def newest(self) -> Found:
        """The newest checkpoint that verifies. Newer, damaged ones are set aside, since their steps come again.

        Raises:
            CheckpointError: there are checkpoints and all are damaged.
        """
        damaged: dict[Path, str] = {}
        for path in reversed(self.all()):
            damage = find_damage(path)
            if damage is None:
                return Found(path, tuple(self._set_aside(bad, why) for bad, why in damaged.items()))
            damaged[path] = damage
        if damaged:
            reasons = "; ".join(f"{path.name}: {why}" for path, why in damaged.items())
            raise CheckpointError(f"{self.folder}: every checkpoint is damaged ({reasons}); start a new run")
        return Found(None)

    def _set_aside(self, path: Path, why: str) -> str:
        aside = path.with_name(f"damaged-{path.name}")
        with one_line(aside):
            clear(aside)
            os.replace(path, aside)
        return f"skipped the damaged checkpoint {path.name} ({why}); it is kept as {aside.name}"

    def _remove(self, path: Path) -> None:
        # Renamed first: a half-deleted folder must not look like a checkpoint.
        doomed = self.folder / f"{STAGING}removed-{path.name}"
        os.replace(path, doomed)
        clear(doomed)


def find_damage(path: Path) -> str | None:
    """Why the checkpoint in `path` cannot be trusted, or None when every file is as it was written."""
    if not (path / MANIFEST).is_file():
        return f"{MANIFEST} is missing"
    try:
        files = read_record(path / MANIFEST, Manifest).files
    except RunFolderError:
        return f"{MANIFEST} cannot be read"
    for name in (STATE, OPTIMIZER, *_names(path)):
        if name not in files:
            return f"{name} is not in {MANIFEST}"
    if not any(name.startswith(f"{MODEL}/") for name in files):
        return f"no file of {MODEL}/ is in {MANIFEST}"
    for name, expected in files.items():
        if reason := _damage_of(path / name, name, expected):
            return reason
    return None


def _damage_of(file: Path, name: str, expected: Fingerprint) -> str | None:
    try:
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != expected.size:
            return f"{name} has {file.stat().st_size} bytes, its manifest says {expected.size}"
        return None if _fingerprint(file) == expected else f"{name} has changed since it was written"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    except ValueError:
        return f"{MANIFEST} names a file that cannot be"


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file; values are copied, so they may share memory or lie on a device."""
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    safetensors_torch.save_file(copies, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        CheckpointError: it is missing or no safetensors file.
    """
    try:
        tensors: dict[str, Tensor] = safetensors_torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as tensors: {str(error).splitlines()[0]}") from None
    return tensors


def check_same(path: Path, made_with: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses a checkpoint that this run would not have made.

    Raises:
        CheckpointError: one of the named things differs.
    """
    for key in sorted(made_with.keys() | now.keys()):
        if made_with.get(key) != now.get(key):
            raise CheckpointError(
                f"{path}: made with other {key}: {made_with.get(key)!r}, this run has {now.get(key)!r}; "
                "resume with the same, or start a new run"
            )


def _names(folder: Path) -> list[str]:
    """Paths of the files below a checkpoint, but for the manifest and what a file manager hides there."""
    files = (path for path in folder.rglob("*") if not path.is_dir() and not path.name.startswith("."))
    names = (path.relative_to(folder).as_posix() for path in files)
    return sorted(name for name in names if name != MANIFEST)


def _fingerprint(path: Path) -> Fingerprint:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return Fingerprint(size=path.stat().st_size, sha256=digest.hexdigest())
