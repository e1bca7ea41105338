"""The run folder: who may use it, what stops a resume, and files that are whole or absent."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from alignkit import folder as module
from alignkit.errors import RunFolderError
from alignkit.files import write_json, write_text
from alignkit.folder import RunFolder

RECIPE = "seed: 0\nlosses:\n- name: dpo  # recipes/dpo.yaml:5\n  beta: 1.0\ntraining: {steps: 100}\n"
PRINTS = {"data": "aa", "template": "bb", "model": "cc"}


def begin(path: Path) -> RunFolder:
    """An open run that has recorded its start."""
    folder = RunFolder.open(path, "recipes/dpo.yaml", resume=False)
    folder.record_recipe(RECIPE)
    folder.record_start(seed=7, command=["alignkit", "run", "dpo.yaml"], fingerprints=PRINTS)
    return folder


def refusal(path: Path | None, *, resume: bool) -> str:
    with pytest.raises(RunFolderError) as caught:
        RunFolder.open(path, "recipes/dpo.yaml", resume=resume)
    return str(caught.value)


def test_default_folders_are_named_by_recipe_and_second_and_never_shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module.time, "strftime", lambda _: "20261123-090000")
    names = []
    for _ in range(3):
        with RunFolder.open(None, "recipes/v1.5/tidpo.yaml", resume=False) as folder:
            names.append(str(folder.path))
    assert names == [f"runs/tidpo-20261123-090000{suffix}" for suffix in ("", "-2", "-3")]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    with RunFolder.open(None, "llama-3.2-3b", resume=False) as folder:
        assert re.fullmatch(r"runs/llama-3\.2-3b-\d{8}-\d{6}", str(folder.path))


def test_a_whole_run_leaves_these_files(tmp_path):
    with begin(tmp_path / "run") as folder:
        folder.record_evaluation("before", {"margin": 0.0, "kl": 0.0})
        folder.record_evaluation("after", {"margin": 1.5, "kl": float("nan")})
        assert not (folder.path / "DONE").exists()
        folder.finish()
        assert (folder.path / "DONE").exists()
        assert (
            str(folder.evaluations()) == "{'before': {'margin': 0.0, 'kl': 0.0}, 'after': {'margin': 1.5, 'kl': nan}}"
        )
    assert sorted(entry.name for entry in folder.path.iterdir()) == [
        ".lock", "DONE", "eval.json", "recipe.yaml", "run.json",
    ]  # fmt: skip
    assert (folder.path / "recipe.yaml").read_text() == RECIPE
    assert json.loads((folder.path / "eval.json").read_text())["after"] == {"margin": 1.5, "kl": None}
    record = json.loads((folder.path / "run.json").read_text())
    assert list(record) == [
        "command", "started", "platform", "versions", "ended", "seed", "fingerprints", "resumed",
    ]  # fmt: skip
    assert record["command"] == ["alignkit", "run", "dpo.yaml"]
    assert record["seed"] == 7
    assert record["fingerprints"] == PRINTS
    assert list(record["versions"]) == ["python", *module.RECORDED]
    assert record["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["versions"]["alignkit"] == "0.1.0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["started"])
    assert record["started"] <= record["ended"]
    assert (folder.path / "DONE").read_text() == record["ended"] + "\n"


def test_a_finished_run_is_refused_with_and_without_resume(tmp_path):
    path = tmp_path / "run"
    with begin(path) as folder:
        folder.finish()
    for resume in (False, True):
        assert refusal(path, resume=resume) == f"{path}: holds a finished run; choose another --output"


def test_an_unfinished_run_asks_for_resume(tmp_path):
    path = tmp_path / "run"
    begin(path).close()
    assert refusal(path, resume=False) == (
        f"{path}: holds an unfinished run; add --resume to continue it or choose another --output"
    )


def test_a_resumed_run_keeps_its_record_and_adds_to_it(tmp_path):
    path = tmp_path / "run"
    begin(path).close()
    began = json.loads((path / "run.json").read_text())
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
        assert folder.resumed
        folder.record_recipe(RECIPE.replace("recipes/dpo.yaml:5", "--set"))  # provenance alone may change
        folder.record_start(seed=7, command=["alignkit", "run", "--resume"], fingerprints=PRINTS)
        folder.finish()
    record = json.loads((path / "run.json").read_text())
    assert (path / "recipe.yaml").read_text() == RECIPE
    assert {key: record[key] for key in ("command", "started", "versions", "fingerprints")} == {
        key: began[key] for key in ("command", "started", "versions", "fingerprints")
    }
    assert [session["command"] for session in record["resumed"]] == [["alignkit", "run", "--resume"]]
    assert record["ended"] >= record["resumed"][0]["started"]


def test_a_changed_recipe_is_refused_with_its_keys(tmp_path):
    path = tmp_path / "run"
    begin(path).close()
    changed = RECIPE.replace("beta: 1.0", "beta: 0.5").replace("seed: 0\n", "").replace("100}", "100, log_every: 5}")
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder, pytest.raises(RunFolderError) as caught:
        folder.record_recipe(changed)
    assert str(caught.value) == (
        f"{path}: cannot resume: the recipe differs from the one the run began with: seed (0, now absent), "
        "losses.0.beta (1.0, now 0.5), training.log_every (absent, now 5); undo the change or choose another --output"
    )


def test_many_differences_are_counted_and_empty_lists_compare(tmp_path):
    path = tmp_path / "run"
    with RunFolder.open(path, "x", resume=False) as folder:
        folder.record_recipe("a: 1\nb: 1\nc: 1\nd: 1\ne: []\nf: {}\ng: 1\n")
    with RunFolder.open(path, "x", resume=True) as folder, pytest.raises(RunFolderError) as caught:
        folder.record_recipe("a: 2\nb: 2\nc: 2\nd: 2\ne: {}\nf: {}\ng: no\n")
    assert str(caught.value) == (
        f"{path}: cannot resume: the recipe differs from the one the run began with: a (1, now 2), b (1, now 2), "
        "c (1, now 2), d (1, now 2), e ([], now {}) and 1 more; undo the change or choose another --output"
    )


def test_changed_data_is_refused(tmp_path):
    path = tmp_path / "run"
    begin(path).close()
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder, pytest.raises(RunFolderError) as caught:
        folder.record_start(seed=7, command=[], fingerprints={**PRINTS, "data": "ab"})
    assert str(caught.value) == (
        f"{path}: cannot resume: fingerprints differ from those the run began with: "
        'data ("aa", now "ab"); bring back what changed or choose another --output'
    )


def test_damaged_records_are_named(tmp_path):
    path = tmp_path / "run"
    begin(path).close()
    (path / "run.json").write_text('{"seed"')
    (path / "recipe.yaml").write_text("a: [")
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
        with pytest.raises(RunFolderError) as caught:
            folder.record_recipe(RECIPE)
        assert str(caught.value) == f"{path}/recipe.yaml: cannot be read, so the run cannot be resumed; start it anew"
        with pytest.raises(RunFolderError) as caught:
            folder.record_start(seed=7, command=[], fingerprints=PRINTS)
        assert str(caught.value) == (
            f"{path}/run.json: cannot be read as a JSON object; restore it or start a new run elsewhere"
        )


def test_what_cannot_be_resumed_or_is_no_run_folder(tmp_path):
    missing, empty, foreign, file = (tmp_path / name for name in ("missing", "empty", "foreign", "file"))
    empty.mkdir()
    foreign.mkdir()
    (foreign / "thesis.txt").touch()
    file.touch()
    assert refusal(None, resume=True) == "--resume: needs --output DIR, the run folder to continue"
    assert refusal(missing, resume=True) == (
        f"{missing}: cannot resume: no such folder; leave out --resume to start a new run there"
    )
    assert refusal(empty, resume=True) == (
        f"{empty}: cannot resume: the folder is empty; leave out --resume to start a new run there"
    )
    for resume in (False, True):
        assert refusal(foreign, resume=resume) == (
            f"{foreign}: holds files but no recipe.yaml, so it is not a run folder; choose another --output"
        )
        assert refusal(file, resume=resume) == f"{file}: is a file; --output needs a folder"
    assert not missing.exists()
    assert [entry.name for entry in foreign.iterdir()] == ["thesis.txt"]
    assert refusal(file / "run", resume=False) == f"{file}/run: cannot be written: Not a directory"


def test_an_empty_folder_and_one_that_died_at_birth_can_be_used(tmp_path):
    (tmp_path / ".lock").write_text("process 1 on host 'gone'")
    (tmp_path / ".recipe.yaml.tmp").write_text("half")
    with begin(tmp_path) as folder:
        assert not folder.resumed
    assert (tmp_path / "recipe.yaml").read_text() == RECIPE


HOLDER = """
import os, sys, time
from pathlib import Path
from alignkit.folder import RunFolder
folder = RunFolder.open(Path(sys.argv[1]), "dpo.yaml", resume=False)
folder.record_recipe("seed: 0")
if os.fork() == 0:  # a data worker, which outlives its parent
    print("held", os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path):
    path = tmp_path / "run"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    worker = int(holder.stdout.readline().split()[1])
    try:
        for resume in (False, True):
            assert refusal(path, resume=resume) == (
                f"{path}: in use by process {holder.pid} on host '{socket.gethostname()}'; "
                "wait for it or choose another --output"
            )
        holder.kill()
        holder.wait()
        with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
            assert (path / ".lock").read_text() == f"process {os.getpid()} on host '{socket.gethostname()}'"
            assert folder.resumed
    finally:
        os.kill(worker, signal.SIGKILL)
        holder.kill()
        holder.stdout.close()
        holder.wait()


def test_an_open_folder_is_refused_in_the_same_process_too(tmp_path):
    path = tmp_path / "run"
    with begin(path):
        assert "in use by process" in refusal(path, resume=True)
    assert "holds an unfinished run" in refusal(path, resume=False)


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "eval.json"
    write_json(path, {"before": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFolderError) as caught:
        write_json(path, {"before": 2})
    assert str(caught.value) == f"{path}: cannot be written: No space left on device"
    assert json.loads(path.read_text()) == {"before": 1}


def test_a_file_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    path = tmp_path / "DONE"
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (calls.append(("sync", path.exists())), sync(number)))
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append(("rename", path.exists())), replace(*names)))
    write_text(path, "now\n")
    assert calls == [("sync", False), ("rename", False), ("sync", True)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["DONE"]
