"""Folders as `alignkit run` and `alignkit evaluate` leave them, without a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from alignkit.records.fingerprints import prompt_hash

SESSION = {"command": [], "started": "", "platform": "", "versions": {}, "ended": "", "seed": 0, "resumed": []}


def lines(path: Path, records: list[dict]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def made(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Makes a finished run, or what `evaluate` wrote, in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def make(
        name,
        rows=(),
        samples=(),
        *,
        seed=0,
        data="d",
        prompts=None,
        moment="after",
        alone=False,
        ended="",
        **benchmarks,
    ):
        """`rows` and `samples`: one mapping for each; `prompts`: text of each row; of a benchmark scores or lines."""
        folder = Path(name)
        folder.mkdir(parents=True)
        recipe = yaml.safe_dump({"seed": seed, "evaluation": {"measures": None}})
        moment = "alone" if alone else moment
        texts = prompts or [f"prompt {row}" for row in range(99)]
        if alone:
            known = {"recipe": recipe, "model": name, "ended": ended, "fingerprints": {}}
            (folder / "evaluation.json").write_text(json.dumps({**SESSION, **known}))
        else:
            (folder / "recipe.yaml").write_text(recipe)
            (folder / "run.json").write_text(json.dumps({**SESSION, "fingerprints": {"data": data}}))
            (folder / "DONE").write_text("")
        hashes = [{"prompt_hash": prompt_hash(text)} for text in texts]
        if rows:
            whole = [{"moment": moment, "row": i, **hashes[i], **row} for i, row in enumerate(rows)]
            lines(folder / "eval_rows.jsonl", whole)
        if samples:
            whole = [{"moment": moment, "row": i, "prompt": texts[i], **one} for i, one in enumerate(samples)]
            lines(folder / "samples.jsonl", whole)
        for title, scores in benchmarks.items():
            whole = [
                {
                    "moment": moment,
                    "item": str(i),
                    "sample": 0,
                    "cluster": str(i),
                    **hashes[i],
                    "text": "",
                    **_line(one),
                }
                for i, one in enumerate(scores)
            ]
            lines(folder / "eval" / f"{title}.jsonl", whole)
        return folder

    return make


def _line(one: object) -> dict:
    return one if isinstance(one, dict) else {"scores": {"acc": one}}
