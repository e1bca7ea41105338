"""Two finished runs that the verbs which use a model share: an adapter on text, and all parameters on conversations."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from alignkit.cli import main
from alignkit.models.scratch import Scratch
from alignkit.run import run

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
ADAPTER = {
    "model": {"name": "world", "adapter": {"rank": 2, "alpha": 4}},
    "data": {"train": "builtin:world", "world": {"pairs": 8, "eval_pairs": 4}},
    "losses": [{"name": "dpo"}],
    "trainer": "preference",
    "training": {"steps": 2, "batch_size": 4, "learning_rate": 0.02},
    "evaluation": {"pairs": 2, "samples": 4, "max_new_tokens": 8},
}


def _train(folder: Path, recipe: dict[str, object]) -> Path:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIGNKIT_CACHE", str(folder / "cache"))
        found = run(folder / "recipe.yaml", folder / "run", quiet=True).folder
    assert found is not None
    return found


@pytest.fixture(scope="session")
def trained_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that trained an adapter on the world's text; read it only."""
    return _train(tmp_path_factory.mktemp("adapter"), ADAPTER)


@pytest.fixture(scope="session")
def trained_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that trained all parameters on conversations; read it only."""
    folder = tmp_path_factory.mktemp("chat")
    source = Scratch(name="scratch", layers=1, width=32, heads=2, vocab_size=512, max_positions=128)
    tokenizer = source.load_tokenizer(["user assistant: yes no"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end>"]})
    tokenizer.chat_template = TEMPLATE
    source.load_model(tokenizer, seed=0).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    replies = {name: [{"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    rows = [{"prompt": [{"role": "user", "content": f"Is {number} even?"}], **replies} for number in range(6)]
    (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {
        "model": {"name": "pretrained", "path": str(folder / "model")},
        "data": {"train": str(folder / "chat.jsonl"), "holdout": 2},
    }
    return _train(folder, ADAPTER | changes)


@pytest.fixture
def said(capsys, tmp_path, monkeypatch):
    """Runs the command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        return caught.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def unfinished(trained_adapter, tmp_path):
    """A copy of the run that was stopped before its end."""
    path = shutil.copytree(trained_adapter, tmp_path / "stopped")
    (path / "DONE").unlink()
    return path
