"""Damage to a checkpoint is found, told, and stepped around."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest
import torch
from loop_toy import run_toy, weights_of

from alignkit.errors import CheckpointError
from alignkit.loop.checkpoint import CheckpointFolder, find_damage, read_tensors, write_tensors


@pytest.fixture
def folder(tmp_path):
    """Two checkpoints, of steps 2 and 4."""
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    for step in (2, 4):
        write_one(folder, step)
    return folder


def write_one(folder, step):
    """A checkpoint with the files that every one has."""
    staging = folder.begin(step)
    (staging / "model").mkdir()
    write_tensors(staging / "model" / "a.safetensors", {"x": torch.full((3,), float(step))})
    write_tensors(staging / "optimizer.safetensors", {"x": torch.zeros(())})
    (staging / "state.json").write_text(json.dumps({"step": step}))
    folder.commit(step)


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "a file is missing": (lambda path: (path / "model" / "a.safetensors").unlink(), "model/a.safetensors is missing"),
    "a file is cut": (
        lambda path: os.truncate(path / "model" / "a.safetensors", 10),
        "model/a.safetensors has 10 bytes, its manifest says 76",
    ),
    "a bit is flipped": (
        lambda path: flip_a_bit(path / "model" / "a.safetensors"),
        "model/a.safetensors has changed since it was written",
    ),
    "no manifest": (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
    "half a manifest": (lambda path: os.truncate(path / "manifest.json", 20), "manifest.json cannot be read"),
    "a flipped key": (
        lambda path: rewrite(path, lambda text: text.replace('"size"', '"sizf"')),
        "manifest.json cannot be read",
    ),
    "a flipped name": (
        lambda path: rewrite(path, lambda text: text.replace("model/a.", "model/b.")),
        "model/a.safetensors is not in manifest.json",
    ),
    "a manifest of nothing": (
        lambda path: rewrite(path, lambda text: '{"files": {}}'),
        "state.json is not in manifest.json",
    ),
    "files is a list": (lambda path: rewrite(path, lambda text: '{"files": []}'), "manifest.json cannot be read"),
    "files is null": (lambda path: rewrite(path, lambda text: '{"files": null}'), "manifest.json cannot be read"),
    "a deep manifest": (lambda path: rewrite(path, lambda text: "[" * 100_000), "manifest.json cannot be read"),
    "a negative size": (
        lambda path: rewrite(path, lambda text: text.replace('"size": ', '"size": -')),
        "manifest.json cannot be read",
    ),
    "a manifest that is a folder": (
        lambda path: ((path / "manifest.json").unlink(), (path / "manifest.json").mkdir()),
        "manifest.json is missing",
    ),
    "a model that is gone": (
        lambda path: (shutil.rmtree(path / "model"), rewrite(path, without_model)),
        "no file of model/ is in manifest.json",
    ),
    "a file that nobody vouches for": (
        lambda path: (path / "step-state-00001.safetensors").touch(),
        "step-state-00001.safetensors is not in manifest.json",
    ),
}


def rewrite(path, change):
    (path / "manifest.json").write_text(change((path / "manifest.json").read_text()))


def without_model(text):
    files = json.loads(text)["files"]
    return json.dumps({"files": {name: value for name, value in files.items() if not name.startswith("model/")}})


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_one_is_skipped_and_said(folder, damage):
    harm, reason = DAMAGES[damage]
    harm(folder.path(4))
    found = folder.newest()
    assert found.path == folder.path(2)
    assert found.notes == (
        f"skipped the damaged checkpoint step-00000004 ({reason}); it is kept as damaged-step-00000004",
    )
    assert sorted(path.name for path in folder.folder.iterdir()) == ["damaged-step-00000004", "step-00000002"]


def test_all_damaged_is_an_error_and_changes_nothing(folder):
    """Twice the same message: the first attempt must not turn the second one into a fresh start."""
    for step in (2, 4):
        (folder.path(step) / "model" / "a.safetensors").unlink()
    for _ in range(2):
        with pytest.raises(CheckpointError) as caught:
            folder.newest()
        assert str(caught.value) == (
            f"{folder.folder}: every checkpoint is damaged (step-00000004: model/a.safetensors is missing; "
            "step-00000002: model/a.safetensors is missing); start a new run"
        )


def test_whole_ones_verify_and_the_newest_is_taken(folder):
    assert [find_damage(path) for path in folder.all()] == [None, None]
    assert folder.newest().path == folder.path(4)
    assert read_tensors(folder.path(4) / "model" / "a.safetensors")["x"].tolist() == [4.0, 4.0, 4.0]


def test_none_yet(tmp_path):
    assert CheckpointFolder(tmp_path / "checkpoints", 1).newest().path is None


def test_the_oldest_are_removed_and_left_over_staging_too(folder):
    (folder.folder / ".staging-00000005").mkdir()
    write_one(folder, 6)
    assert sorted(path.name for path in folder.folder.iterdir()) == ["step-00000004", "step-00000006"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_staging_that_is_no_folder_is_removed_and_links_are_no_checkpoints(folder, tmp_path, kind):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").touch()
    left_over = folder.folder / ".staging-00000006"
    left_over.touch() if kind == "file" else left_over.symlink_to(outside)
    (folder.folder / "step-00000099").symlink_to(outside)
    (folder.folder / "step-7").mkdir()
    assert folder.newest().path == folder.path(4)
    write_one(folder, 6)
    assert [path.name for path in folder.all()] == ["step-00000004", "step-00000006"]
    assert (outside / "mine.txt").exists()


def forge(path, **values):
    """Changes `state.json` and vouches for it."""
    state = json.loads((path / "state.json").read_text()) | values
    (path / "state.json").write_text(json.dumps(state))
    files = json.loads((path / "manifest.json").read_text())["files"]
    content = (path / "state.json").read_bytes()
    files["state.json"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (path / "manifest.json").write_text(json.dumps({"files": files}))


ADVICE = "restore it or start a new run elsewhere"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"step": 10**9},
            "says step 1000000000, which is not the folder's; remove the folder to resume from an older checkpoint, "
            "or start a new run",
        ),
        ({"step": -1}, f"'step': Input should be greater than or equal to 0; {ADVICE}"),
        ({"step": "7"}, f"'step': Input should be a valid integer; {ADVICE}"),
        ({"log": None}, f"'log': Input should be an object; {ADVICE}"),
        ({"made_with": []}, f"'made_with': Input should be an object; {ADVICE}"),
        ({"versions": {"torch": 2}}, f"'versions.torch': Input should be a valid string; {ADVICE}"),
    ],
)
def test_a_forged_state_is_one_line(tmp_path, values, message):
    run_toy(tmp_path)
    path = tmp_path / "checkpoints" / "step-00000007"
    forge(path, **values)
    with pytest.raises(CheckpointError) as caught:
        run_toy(tmp_path, resume=True)
    assert str(caught.value) == f"{path}/state.json: {message}"


def test_another_number_of_processes_goes_on_and_says_so(tmp_path):
    """As if two processes had made it; both would know the same anchor."""
    run_toy(tmp_path)
    path = tmp_path / "checkpoints" / "step-00000007"
    made_with = json.loads((path / "state.json").read_text())["made_with"]
    forge(path, made_with=made_with | {"processes": 2})
    result, notes, step = run_toy(tmp_path, resume=True)
    assert notes == [
        f"{path}: made by 2 processes, now 1; the last bits may differ",
        f"resuming after step 7 from {path}",
    ]
    assert result.steps == 7
    assert step.anchor == read_tensors(path / "step-state-00000.safetensors")["anchor"]


@pytest.mark.parametrize("key", ["steps", "schedule"])
def test_a_forged_schedule_is_one_line(tmp_path, key):
    run_toy(tmp_path)
    path = tmp_path / "checkpoints" / "step-00000007"
    made_with = json.loads((path / "state.json").read_text())["made_with"]
    forge(path, made_with=made_with | {f"training.{key}": []})
    with pytest.raises(CheckpointError) as caught:
        run_toy(tmp_path, resume=True)
    assert str(caught.value) == f"{path}: its record of the schedule is not one of ours; start a new run"


def test_tensors_that_share_memory_are_written_as_they_are(tmp_path):
    whole = torch.arange(6.0)
    write_tensors(tmp_path / "t.safetensors", {"whole": whole, "part": whole[2:4], "turned": whole.reshape(2, 3).T})
    read = read_tensors(tmp_path / "t.safetensors")
    assert read["part"].tolist() == [2.0, 3.0]
    assert read["turned"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


def test_a_checkpoint_holds_safetensors_and_json_only(tmp_path):
    """One tied tensor once, AdamW's three quantities of it, the step's state of process 0; no pickle."""
    run_toy(tmp_path, save_every=7)
    path = tmp_path / "checkpoints" / "step-00000007"
    assert sorted(file.name for file in path.iterdir()) == [
        "manifest.json",
        "model",
        "optimizer.safetensors",
        "state.json",
        "step-state-00000.safetensors",
    ]
    assert list(read_tensors(path / "model" / "parameters.safetensors")) == ["embedding.weight"]
    assert sorted(read_tensors(path / "optimizer.safetensors")) == [
        "embedding.weight/exp_avg",
        "embedding.weight/exp_avg_sq",
        "embedding.weight/step",
    ]
    assert list(read_tensors(path / "step-state-00000.safetensors")) == ["anchor"]
    assert json.loads((path / "state.json").read_text())["step"] == 7


def test_a_run_resumes_from_the_one_before_the_damaged_one(tmp_path):
    """Checkpoints of steps 6 and 7, the newer one cut: step 7 is trained again, to the same weights."""
    _, _, straight = run_toy(tmp_path, save_every=2)
    folder = CheckpointFolder(tmp_path / "checkpoints", 2)
    size = (folder.path(7) / "model" / "parameters.safetensors").stat().st_size
    os.truncate(folder.path(7) / "model" / "parameters.safetensors", 8)
    _, notes, resumed = run_toy(tmp_path, save_every=2, resume=True)
    assert notes == [
        "skipped the damaged checkpoint step-00000007 (model/parameters.safetensors has 8 bytes, its manifest says "
        f"{size}); it is kept as damaged-step-00000007",
        f"resuming after step 6 from {folder.path(6)}",
    ]
    assert torch.equal(weights_of(resumed), weights_of(straight))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 7
    assert find_damage(folder.path(7)) is None
