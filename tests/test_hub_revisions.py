"""A run on a model and a data set of the Hub, at a tag: which commits it used, and what happens without the Hub."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from hub_stand_in import COMMIT, OLDER, Stored, stand_in

from alignkit.errors import DataError
from alignkit.models.world import FOLDER
from alignkit.run import run

RECIPE = {
    "model": {"name": "pretrained", "path": "me/model", "revision": "v1"},
    "data": {"train": "me/pairs", "revision": "v1", "holdout": 4},
    "losses": [{"name": "dpo"}],
    "trainer": "preference",
    "training": {"steps": 1, "batch_size": 4},
    "evaluation": {"pairs": 2, "samples": 0},
}


def rows(count: int) -> bytes:
    pairs = [
        {"prompt": f"What helps a fig? {number}", "chosen": "Rinse the soil.", "rejected": "Water it."}
        for number in range(count)
    ]
    return "".join(json.dumps(pair) + "\n" for pair in pairs).encode()


def set_offline(monkeypatch: pytest.MonkeyPatch, is_offline: bool) -> None:
    for module in ("huggingface_hub.constants", "datasets.config"):
        monkeypatch.setattr(f"{module}.HF_HUB_OFFLINE", is_offline)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in with both, whose newest commits are others; nothing was loaded from it before."""
    with stand_in() as found:
        set_offline(monkeypatch, False)
        monkeypatch.setattr("datasets.config.HF_ENDPOINT", found.endpoint)
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.endpoint)
        template = f"{found.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
        monkeypatch.chdir(tmp_path)
        refs = {"v1": OLDER, "main": COMMIT}
        model = {file.name: file.read_bytes() for file in FOLDER.iterdir()}
        found.stored["models/me/model"] = Stored(refs, {OLDER: model, COMMIT: {}})
        found.stored["datasets/me/pairs"] = Stored(refs, {OLDER: {"a.jsonl": rows(9)}, COMMIT: {"a.jsonl": rows(12)}})
        yield found
        huggingface_hub.close_session()


def recorded(folder: str, **data: object) -> dict[str, str | None]:
    """The revisions in the record of a new run."""
    Path(f"{folder}.yaml").write_text(yaml.safe_dump(RECIPE | {"data": RECIPE["data"] | data}))
    run(f"{folder}.yaml", folder, quiet=True)
    return json.loads(Path(folder, "run.json").read_text())["revisions"]


def test_what_was_used_is_recorded_and_nothing_else_is_taken_for_it(hub, monkeypatch):
    assert recorded("first") == {"model": OLDER, "data.train": OLDER}
    card = Path("first/final/README.md").read_text()
    assert f"From the Hub: `model` at commit `{OLDER}`, `data.train` at commit `{OLDER}`\n" in card
    assert "- me/pairs: 9 of 9 rows used" in card
    set_offline(monkeypatch, True)
    assert recorded("again") == {"model": OLDER, "data.train": OLDER}
    set_offline(monkeypatch, False)
    assert recorded("newer", revision=COMMIT) == {"model": OLDER, "data.train": COMMIT}
    set_offline(monkeypatch, True)
    with pytest.raises(DataError, match=f"^Hub data set 'me/pairs': revision 'v1' is commit {OLDER}, but commit "):
        recorded("gone")
