"""Checkpoints that survive a crash at any moment: staged, fsynced, given a manifest, then renamed into place.

Tensors are safetensors, the rest is JSON; no pickle is written or read. A folder `step-00000100` is complete by
construction, and its manifest (size and sha256 of every file) shows damage that came later.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignkit.errors import CheckpointError
from alignkit.lazy import safetensors_torch

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "manifest.json"
STAGING = ".staging-"


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
        """The checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("step-*") if path.is_dir())

    def begin(self, step: int) -> Path:
        """An empty staging folder; what a killed run left of its own is removed."""
        for left_over in self.folder.glob(f"{STAGING}*"):
            shutil.rmtree(left_over)
        staging = self.staging(step)
        staging.mkdir(parents=True)
        return staging

    def commit(self, step: int) -> Path:
        """Turns the staging folder into a checkpoint, then removes the oldest ones."""
        staging = self.staging(step)
        files = {path.name: _fingerprint(path) for path in sorted(staging.iterdir())}
        write_json(staging / MANIFEST, {"files": files})
        _fsync(staging)
        os.replace(staging, self.path(step))
        _fsync(self.folder)
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
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(path, aside)
        return f"skipped the damaged checkpoint {path.name} ({why}); it is kept as {aside.name}"

    def _remove(self, path: Path) -> None:
        # Renamed first: a half-deleted folder must not look like a checkpoint.
        doomed = self.folder / f"{STAGING}removed-{path.name}"
        os.replace(path, doomed)
        shutil.rmtree(doomed)


def find_damage(path: Path) -> str | None:
    """Why the checkpoint in `path` cannot be trusted, or None when every file is as it was written."""
    try:
        files: dict[str, dict[str, Any]] = json.loads((path / MANIFEST).read_text("utf-8"))["files"]
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} cannot be read"
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != expected["size"]:
            return f"{name} has {file.stat().st_size} bytes, its manifest says {expected['size']}"
        if _fingerprint(file) != expected:
            return f"{name} has changed since it was written"
    return None


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A durable safetensors file; values are copied, so they may share memory or lie on a device."""
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    safetensors_torch.save_file(copies, path)
    _fsync(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU."""
    tensors: dict[str, Tensor] = safetensors_torch.load_file(path)
    return tensors


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A durable JSON file."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    _fsync(path)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


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


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return {"size": path.stat().st_size, "sha256": digest.hexdigest()}


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
