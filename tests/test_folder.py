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
from alignkit.folder import RunFolder
from alignkit.records.files import write_json, write_text
from alignkit.records.versions import RECORDED

RECIPE = "seed: 0\nlosses:\n- name: dpo  # recipes/dpo.yaml:5\n  beta: 1.0\ntraining: {steps: 100}\n"
PRINTS = {"data": "aa", "template": "bb", "model": "cc"}


def begin(path: Path) -> RunFolder:
    """An open run that has recorded its start."""
    folder = RunFolder.open(path, "recipes/dpo.yaml", resume=False)
    folder.begin(RECIPE, seed=7, command=["alignkit", "run", "dpo.yaml"], fingerprints=PRINTS)
    return folder


def begin_again(folder: RunFolder, recipe: str = RECIPE, prints: dict[str, str] = PRINTS) -> None:
    """What a later session does with it before it trains."""
    folder.begin(recipe, seed=7, command=["alignkit", "run", "--resume"], fingerprints=prints)


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
        ".holder", ".lock", "DONE", "eval.json", "recipe.yaml", "run.json",
    ]  # fmt: skip
    assert (folder.path / "recipe.yaml").read_text() == RECIPE
    assert json.loads((folder.path / "eval.json").read_text())["after"] == {"margin": 1.5, "kl": None}
    record = json.loads((folder.path / "run.json").read_text())
    assert list(record) == [
        *("command", "started", "platform", "versions", "plugins", "libraries", "ended", "seed", "fingerprints"),
        *("revisions", "is_chat", "evaluations", "resumed"),
    ]  # fmt: skip
    assert record["command"] == ["alignkit", "run", "dpo.yaml"]
    assert record["seed"] == 7
    assert record["fingerprints"] == PRINTS
    assert list(record["versions"]) == ["python", *RECORDED]
    assert record["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["versions"]["alignkit"] == "0.1.0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["started"])
    assert record["started"] <= record["ended"]
    assert (folder.path / "DONE").read_text() == record["ended"] + "\n"


def test_a_finished_run_can_only_be_extended(tmp_path):
    path = tmp_path / "run"
    with begin(path) as folder:
        folder.finish()
    assert refusal(path, resume=False) == (
        f"{path}: holds a finished run; add --resume to extend it with a larger training.steps or choose another "
        "--output"
    )
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
        assert folder.nothing_left(RECIPE)
        assert folder.nothing_left(RECIPE.replace("100}", "100, log_every: 5}"))  # it changes nothing that is left
        assert not folder.nothing_left(RECIPE.replace("100}", "200}"))
        with pytest.raises(RunFolderError, match="the recipe differs"):
            folder.nothing_left(RECIPE.replace("seed: 0", "seed: 1"))


def test_an_unfinished_run_asks_for_resume(tmp_path):
    path = tmp_path / "run"
    begin(path).close()
    assert refusal(path, resume=False) == (
        f"{path}: holds an unfinished run; add --resume to continue it or choose another --output"
    )


def test_an_option_that_came_later_and_asks_for_nothing_is_no_change(tmp_path):
    path = tmp_path / "run"
    begin(path).close()
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
        assert folder.changes(f"{RECIPE}data: {{revision: null}}\n") == []
        bf16 = RECIPE.replace("steps: 100", "steps: 100, parameters: bf16")
        assert folder.changes(bf16.replace("bf16", "fp32")) == []
        with pytest.raises(RunFolderError, match=r"training\.parameters \(absent, now \"bf16\"\)"):
            folder.changes(bf16)
        with pytest.raises(RunFolderError, match=r"data\.revision \(absent, now \"v1\"\)"):
            folder.changes(f"{RECIPE}data: {{revision: v1}}\n")


def test_what_data_and_model_were_is_recorded_once(tmp_path):
    path = tmp_path / "run"
    with begin(path) as folder:
        folder.record_data(is_chat=True, revisions={"model": "c0ffee", "data.train": None})
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
        folder.record_data(is_chat=True, revisions={"model": "decaf"})
        assert folder.record().revisions == {"model": "c0ffee", "data.train": None}
    older = json.loads((path / "run.json").read_text())
    del older["revisions"], older["is_chat"]
    write_json(path / "run.json", older)
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
        assert (folder.record().revisions, folder.record().is_chat) == ({}, None)


def test_a_resumed_run_keeps_its_record_and_adds_to_it(tmp_path):
    path = tmp_path / "run"
    begin(path).close()
    began = json.loads((path / "run.json").read_text())
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
        assert folder.resumed
        begin_again(folder, RECIPE.replace("recipes/dpo.yaml:5", "--set"))  # provenance alone may change
        folder.go_on(5)
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
    changed = RECIPE.replace("beta: 1.0", "beta: 0.5").replace("seed: 0\n", "").replace("100}", "100, batch_size: 5}")
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder, pytest.raises(RunFolderError) as caught:
        begin_again(folder, changed)
    assert str(caught.value) == (
        f"{path}: cannot resume: the recipe differs from the one the run began with: seed (0, now absent), "
        "losses.0.beta (1.0, now 0.5), training.batch_size (absent, now 5); undo the change or choose another --output"
    )


def test_many_differences_are_counted_and_empty_lists_compare(tmp_path):
    path = tmp_path / "run"
    with RunFolder.open(path, "x", resume=False) as folder:
        begin_again(folder, "a: 1\nb: 1\nc: 1\nd: 1\ne: []\nf: {}\ng: 1\n")
    with RunFolder.open(path, "x", resume=True) as folder, pytest.raises(RunFolderError) as caught:
        begin_again(folder, "a: 2\nb: 2\nc: 2\nd: 2\ne: {}\nf: {}\ng: no\n")
    assert str(caught.value) == (
        f"{path}: cannot resume: the recipe differs from the one the run began with: a (1, now 2), b (1, now 2), "
        "c (1, now 2), d (1, now 2), e ([], now {}) and 1 more; undo the change or choose another --output"
    )


def test_changed_data_is_refused(tmp_path):
    path = tmp_path / "run"
    begin(path).close()
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder, pytest.raises(RunFolderError) as caught:
        begin_again(folder, prints={**PRINTS, "data": "ab"})
    assert str(caught.value) == (
        f"{path}: cannot resume: fingerprints differ from those the run began with: "
        'data ("aa", now "ab"); bring back what changed or choose another --output'
    )


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
ADVICE = "restore it or start a new run elsewhere"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: [", "1: not valid YAML: while parsing a flow node, expected the node content, but found '<stream end>'"),
        (BOMB, "1: holds more than 20000 values once aliases are expanded"),
        ("a: &a [*a]\n", "1: an alias contains itself"),
        ("a: " + "[" * 20_000, "1: nested deeper than 32 levels"),
        ("", " is empty"),
    ],
)
def test_a_damaged_recipe_is_one_line(tmp_path, content, reason):
    path = tmp_path / "run"
    begin(path).close()
    (path / "recipe.yaml").write_text(content)
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
        with pytest.raises(RunFolderError) as caught:
            begin_again(folder)
        assert str(caught.value) == f"{path}/recipe.yaml:{reason}; {ADVICE}"


def test_a_date_in_a_damaged_recipe_is_text(tmp_path):
    """To PyYAML it is no date of the calendar and stops the reading."""
    path = tmp_path / "run"
    begin(path).close()
    (path / "recipe.yaml").write_text(RECIPE.replace("seed: 0", "seed: 2020-99-99"))
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder, pytest.raises(RunFolderError) as caught:
        begin_again(folder)
    assert 'seed ("2020-99-99", now 0)' in str(caught.value)


@pytest.mark.parametrize(("before", "now"), [("no", "off"), ("1_0", "1__0"), ("on", "yes")])
def test_words_that_other_readers_take_for_the_same_are_not(tmp_path, before, now):
    path = tmp_path / "run"
    with RunFolder.open(path, "x", resume=False) as folder:
        begin_again(folder, f"separator: {before}\n")
    with RunFolder.open(path, "x", resume=True) as folder, pytest.raises(RunFolderError) as caught:
        begin_again(folder, f"separator: {now}\n")
    assert f'separator ("{before}", now "{now}")' in str(caught.value)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda record: {}, "'command': Field required"),
        (lambda record: {key: record[key] for key in record if key != "resumed"}, "'resumed': Field required"),
        (lambda record: record | {"resumed": None}, "'resumed': Input should be a valid array"),
        (lambda record: record | {"seed": "7"}, "'seed': Input should be a valid integer"),
        (lambda record: record | {"fingerprints": [1]}, "'fingerprints': Input should be an object"),
        (lambda record: record | {"resumed": [3]}, "'resumed.0': Input should be an object"),
    ],
)
def test_a_record_of_the_wrong_form_is_one_line(tmp_path, harm, reason):
    path = tmp_path / "run"
    begin(path).close()
    (path / "run.json").write_text(json.dumps(harm(json.loads((path / "run.json").read_text()))))
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder, pytest.raises(RunFolderError) as caught:
        begin_again(folder)
    assert str(caught.value) == f"{path}/run.json: {reason}; {ADVICE}"


@pytest.mark.parametrize("content", ['{"seed"', "[" * 100_000, "[]", "7", "\xff"])
def test_a_record_that_is_none_is_one_line(tmp_path, content):
    path = tmp_path / "run"
    begin(path).close()
    (path / "run.json").write_text(content, encoding="latin-1")
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder, pytest.raises(RunFolderError) as caught:
        begin_again(folder)
    assert str(caught.value) == f"{path}/run.json: cannot be read as a JSON object; {ADVICE}"


def test_changes_that_leave_the_training_alone_are_recorded(tmp_path):
    """The new recipe and what it changed stand in the record once the run has gone on, not before."""
    path = tmp_path / "run"
    with begin(path) as folder:
        folder.record_evaluation("before", {"margin": 1.0})
    changed = RECIPE.replace("100}", "200, save_every: 7, trackers: [wandb]}") + "evaluation: {samples: 9}\n"
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
        begin_again(folder, changed)
        assert (path / "recipe.yaml").read_text() == RECIPE
        assert folder.evaluations() == {}  # measured with other settings
        folder.go_on(5)
        folder.finish()
    assert (path / "recipe.yaml").read_text() == changed
    assert json.loads((path / "run.json").read_text())["resumed"][0]["changes"] == {
        "training.steps": "100, now 200",
        "training.save_every": "absent, now 7",
        "training.trackers.0": 'absent, now "wandb"',
        "evaluation.samples": "absent, now 9",
    }


def test_an_extended_run_is_unfinished_again(tmp_path):
    path = tmp_path / "run"
    with begin(path) as folder:
        folder.record_evaluation("before", {"margin": 0.0})
        folder.record_evaluation("after", {"margin": 1.0})
        folder.finish()
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
        begin_again(folder, RECIPE.replace("100}", "200}"))
        assert (path / "DONE").exists()
        folder.go_on(100)
        assert not (path / "DONE").exists()
        assert json.loads((path / "run.json").read_text())["ended"] is None
        assert json.loads((path / "eval.json").read_text()) == {"before": {"margin": 0.0}}


def test_a_finished_run_without_checkpoints_is_not_trained_anew(tmp_path):
    path = tmp_path / "run"
    with begin(path) as folder:
        folder.finish()
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
        begin_again(folder, RECIPE.replace("100}", "200}"))
        with pytest.raises(RunFolderError) as caught:
            folder.go_on(0)
    assert str(caught.value) == (
        f"{path}: its run is finished and no checkpoint is left to go on from; choose another --output"
    )
    assert (path / "DONE").exists()


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ('{"before": {"margin": 2.5}}', "'before' is not what was written (sha256)"),
        ('{"before": null}', None),
        ('{"before": {"margin": "x"}}', "'before.margin': Input should be a valid number"),
        ('{"before": [1]}', "'before': Input should be an object"),
        ("[]", "cannot be read as a JSON object"),
    ],
)
def test_a_changed_evaluation_is_not_believed(tmp_path, content, note):
    """The first one has as many bytes as what was written."""
    path = tmp_path / "run"
    with begin(path) as folder:
        folder.record_evaluation("before", {"margin": 1.5})
        assert folder.evaluations() == {"before": {"margin": 1.5}}
    (path / "eval.json").write_text(content)
    with RunFolder.open(path, "dpo.yaml", resume=True) as folder:
        assert folder.evaluations() == {}
        start = f"{path}/eval.json: {note}"
        assert len(folder.notes) == (note is not None)
        assert all(line.startswith(start) and line.endswith("; measuring again") for line in folder.notes)


def test_what_is_no_run_folder(tmp_path):
    foreign, file = (tmp_path / name for name in ("foreign", "file"))
    foreign.mkdir()
    (foreign / "thesis.txt").touch()
    file.touch()
    assert refusal(None, resume=True) == "--resume: needs --output DIR, the run folder to continue"
    for resume in (False, True):
        assert refusal(foreign, resume=resume) == (
            f"{foreign}: holds files but no recipe.yaml, so it is not a run folder; choose another --output"
        )
        assert refusal(file, resume=resume) == f"{file}: is a file; --output needs a folder"
    assert [entry.name for entry in foreign.iterdir()] == ["thesis.txt"]
    assert refusal(file / "run", resume=False) == f"{file}/run: cannot be written: Not a directory"


def test_resume_where_there_is_nothing_begins(tmp_path):
    """A preempted machine is started again with the same command, whatever it had come to."""
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        with RunFolder.open(tmp_path / name, "dpo.yaml", resume=True) as folder:
            assert not folder.resumed
            begin_again(folder)
            folder.go_on(0)
        assert json.loads((tmp_path / name / "run.json").read_text())["resumed"] == []


@pytest.mark.slow
def test_without_fcntl_the_folder_still_locks(tmp_path):
    """As on Windows. Importing the whole run and every verb needs it neither."""
    program = """
import sys
from pathlib import Path
sys.modules["fcntl"] = None
from alignkit.folder import RunFolder
import alignkit.cli, alignkit.run
folder = RunFolder.open(Path(sys.argv[1]), "dpo.yaml", resume=False)
try:
    RunFolder.open(Path(sys.argv[1]), "dpo.yaml", resume=False)
except OSError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    assert "in use by process" in done.stdout


def test_an_empty_folder_and_one_that_died_at_birth_can_be_used(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".holder").write_text("process 1 on host 'gone'")
    (tmp_path / ".recipe.yaml.tmp").write_text("half")
    with begin(tmp_path) as folder:
        assert not folder.resumed
    assert (tmp_path / "recipe.yaml").read_text() == RECIPE


HOLDER = """
import os, sys, time
from pathlib import Path
from alignkit.folder import RunFolder
folder = RunFolder.open(Path(sys.argv[1]), "dpo.yaml", resume=False)
folder.begin("seed: 0", seed=0, command=[], fingerprints={})
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
            assert (path / ".holder").read_text() == f"process {os.getpid()} on host '{socket.gethostname()}'"
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
    assert caught.value.exit_code == 1  # the machine's fault, not the user's
    assert [entry.name for entry in tmp_path.iterdir()] == ["eval.json"]  # half a file would take more room


def test_a_file_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    path = tmp_path / "DONE"
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (calls.append(("sync", path.exists())), sync(number)))
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append(("rename", path.exists())), replace(*names)))
    write_text(path, "now\n")
    assert calls == [("sync", False), ("rename", False), ("sync", True)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["DONE"]
