"""`alignkit push`: the files that it said, as one commit, by the real client to a Hub on this machine."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import huggingface_hub
import pytest
from hub_stand_in import COMMIT, TOKEN, stand_in

MODEL = ("README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json")
RECORDS = ("recipe.yaml", "eval.json")


@pytest.fixture
def hub(monkeypatch):
    """The stand-in, to which the client is logged in."""
    with stand_in() as found:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found
        huggingface_hub.close_session()


def test_what_is_said_is_uploaded_as_one_commit(trained_adapter, said, hub):
    code, out, err = said("push", trained_adapter, "me/plants")
    paths = [trained_adapter / "final" / name for name in MODEL] + [trained_adapter / name for name in RECORDS]
    assert (code, err) == (0, "")
    head, *files, note, done = out.splitlines()
    assert head == f"to me/plants: 7 files, {sum(path.stat().st_size for path in paths):,} bytes"
    assert files == [f"  {path.name}  {path.stat().st_size:,}" for path in paths]
    assert note.startswith("note: files of this machine are named in ") and " adapter_config.json, such as '/" in note
    assert done == f"done: {hub.endpoint}/me/plants/commit/{COMMIT}"
    ((name, branch, uploaded),) = hub.commits
    assert (name, branch, hub.branches) == ("me/plants", "main", [])
    assert uploaded == {path.name: path.read_bytes() for path in paths}
    assert hub.repos["me/plants"].get("visibility") is None


def test_a_private_repository_a_branch_and_samples(trained_adapter, said, hub):
    for _ in range(2):  # the second time it is there
        assert said("push", trained_adapter, "me/plants", "--private", "--revision", "v2", "--with-samples")[0] == 0
    assert hub.repos["me/plants"]["visibility"] == "private"
    assert set(hub.branches) == {("me/plants", "v2")}
    name, branch, files = hub.commits[1]
    assert (name, branch) == ("me/plants", "v2")
    assert set(files) == {*MODEL, *RECORDS, "samples.jsonl"}


def test_merged_it_needs_no_adapter_and_names_no_folder(trained_adapter, said, hub):
    code, out, _ = said("push", trained_adapter, "me/plants", "--merged")
    ((_, _, files),) = hub.commits
    assert (code, out.partition(";")[0]) == (0, "merged in float32")
    assert {"model.safetensors", "config.json", "tokenizer.json", *RECORDS} <= set(files)
    assert not any("adapter" in name for name in files)
    assert b"\n# run, merged\n" in files["README.md"]


def test_a_dry_run_says_it_and_asks_nobody(trained_chat, said):
    shutil.copytree(trained_chat / "final", "model")
    Path("model/secrets.env").write_text("x")
    Path("model/pytorch_model.bin").write_text("x")
    code, out, err = said("push", "model", "me/chat", "--dry-run")
    names = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert (code, err) == (0, "")
    assert names == [
        "README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_what_the_hub_refuses_is_one_line(trained_adapter, said, hub):
    hub.refusal = (403, "You are not in the\nteam")
    code, _, err = said("push", trained_adapter, "team/plants")
    assert code == 2 and err.count("\n") == 1
    assert err.startswith("team/plants: the Hub has not taken it: ") and "403" in err
    assert hub.commits == []


def test_a_token_that_the_hub_does_not_know_is_one_line(trained_adapter, said, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    code, _, err = said("push", trained_adapter, "me/plants")
    assert code == 2 and err.count("\n") == 1 and err.startswith("me/plants: the Hub has not taken it: ")
    assert "401" in err and "hf_of_another" not in err


def test_a_hub_out_of_reach_is_one_line(trained_adapter, said, hub, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        code, _, err = said("push", trained_adapter, "me/plants")
    assert code == 2 and err.startswith("me/plants: the Hub has not taken it: ConnectError: ") and err.count("\n") == 1


def test_offline_is_said_before_anything_is_merged(trained_adapter, said, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    offline = "HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it\n"
    assert said("push", trained_adapter, "me/plants", "--merged") == (2, "", offline)


def test_without_a_login(trained_adapter, said, hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    no_token = "no token for the Hub; log in with `hf auth login` or set HF_TOKEN\n"
    assert said("push", trained_adapter, "me/plants") == (2, "", no_token)


def test_mistakes(trained_adapter, trained_chat, unfinished, said):
    Path("empty").mkdir()
    for line, message in (
        ((trained_adapter, "plants"), "'plants' is no place on the Hub; give owner/name\n"),
        ((unfinished, "me/plants"), f"{unfinished}: its run is not finished; go on with alignkit run {unfinished} "),
        (("empty", "me/plants"), "empty: holds no weights as .safetensors\n"),
        (("none", "me/plants"), "'none': no such folder; give a run, or a model's folder\n"),
        ((trained_chat, "me/plants", "--merged"), f"{trained_chat}/final: is no adapter, so there is nothing to merge"),
    ):
        code, out, err = said("push", *line, "--dry-run")
        assert (code, out) == (2, "") and err.startswith(message) and err.count("\n") == 1, err
