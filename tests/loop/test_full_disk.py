"""A disk that is full or read-only costs one line and nothing that was saved before.

A limit on the size of files stands for the full disk: the system refuses the writes themselves, unlike a patched
function. Its message, "File too large", comes from all libraries the way "No space left on device" does.
"""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager

import pytest
import torch
from loop_toy import ToyStep, run_toy, weights_of

from alignkit.errors import StorageError
from alignkit.loop.checkpoint import CheckpointFolder, find_damage, write_tensors
from alignkit.loop.metrics import MetricsLog
from alignkit.records.files import one_line, write_text


@contextmanager
def no_file_beyond(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_tensors_that_do_not_fit(tmp_path):
    path = tmp_path / "x.safetensors"
    with no_file_beyond(1000), pytest.raises(StorageError) as caught, one_line(path):
        write_tensors(path, {"x": torch.zeros(1000)})
    assert str(caught.value) == f"{path}: cannot be written: File too large"
    assert caught.value.exit_code == 1


def test_a_text_that_does_not_fit_leaves_the_old_one(tmp_path):
    path = tmp_path / "x.txt"
    write_text(path, "old")
    with no_file_beyond(100), pytest.raises(StorageError) as caught:
        write_text(path, "x" * 1000)
    assert str(caught.value) == f"{path}: cannot be written: File too large"
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("x.txt", "old")]


def test_a_log_line_that_does_not_fit(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with no_file_beyond(100), pytest.raises(StorageError) as caught, MetricsLog(path, None) as log:
        for step in range(50):
            log.write({"step": step})
    assert str(caught.value) == f"{path}: cannot be written: File too large"


class Growing(ToyStep):
    """Its model becomes too big for the disk at the fifth step."""

    def save_model(self, folder, state=None):
        super().save_model(folder)
        if len(self.prepared) >= 5:
            write_tensors(folder / "big.safetensors", {"x": torch.zeros(10_000)})


@pytest.mark.parametrize("steps", [7, 5])
def test_a_checkpoint_that_does_not_fit(tmp_path, steps):
    """The one before is named and whole, nothing half written takes room, and the run goes on when there is some again.

    When it was the last step's, what the caller saves (the model alone, which may fit) is saved all the same.
    """
    trained = []
    with no_file_beyond(20_000), pytest.raises(StorageError) as caught:
        run_toy(
            tmp_path / "a", Growing(noise=True), steps=steps, save_every=1, on_trained=lambda: trained.append("saved")
        )
    folder = CheckpointFolder(tmp_path / "a" / "checkpoints", 2)
    comfort = "; all steps are done and the trained model was saved by itself" if steps == 5 else ""
    assert str(caught.value) == (
        f"{folder.path(5)}: cannot be written: File too large; last good checkpoint: {folder.path(4)}{comfort}"
    )
    assert trained == (["saved"] if steps == 5 else [])
    assert sorted(path.name for path in folder.folder.iterdir()) == ["step-00000003", "step-00000004"]
    assert [find_damage(path) for path in folder.all()] == [None, None]
    _, _, resumed = run_toy(tmp_path / "a", ToyStep(noise=True), steps=steps, resume=True)
    _, _, straight = run_toy(tmp_path / "b", ToyStep(noise=True), steps=steps)
    assert torch.equal(weights_of(resumed), weights_of(straight))


def test_a_checkpoint_folder_that_cannot_be(tmp_path):
    """A file in its place, as a mistyped or foreign one would be."""
    (tmp_path / "checkpoints").touch()
    with pytest.raises(OSError) as caught:
        run_toy(tmp_path)
    path = tmp_path / "checkpoints"
    assert str(caught.value) == f"{path}: cannot be written: Not a directory"


@pytest.mark.parametrize("error", [28, 30, 13, 5])
def test_the_system_is_quoted_whatever_it_says(tmp_path, monkeypatch, error):
    """Full, read-only, no permission, a broken disk; while a file is made durable."""

    def refuse(descriptor):
        raise OSError(error, os.strerror(error))

    run_toy(tmp_path, steps=2, schedule="constant", warmup=0.0)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError) as caught:
        run_toy(tmp_path, steps=3, schedule="constant", warmup=0.0, resume=True)
    assert os.strerror(error) in str(caught.value)
