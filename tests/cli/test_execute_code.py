"""`alignkit run --execute-code`: without it nothing begins, with it rewards run what the model writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import alignkit
import alignkit.pipeline as pipeline
from alignkit.rewards import sandbox
from alignkit.rewards.permission import granted

RECIPE = """\
model: {name: scratch, layers: 1, width: 16, heads: 2, vocab_size: 512, max_positions: 64}
data: {train: rows.jsonl, max_length: 32, holdout: 1}
trainer: on_policy
rewards: [{name: code}]
sampler: {name: generate, responses: 2, max_new_tokens: 4}
advantage: group
losses: [policy_gradient]
training: {steps: 1, batch_size: 2, learning_rate: 1.0e-3, warmup: 0}
evaluation: {pairs: 0, samples: 0}
"""
STAGES = RECIPE + "stages: {first: {rewards: [{name: repetition}]}, second: {seed: 1}}\n"
REFUSED = (
    "rewards.code: runs code that the model writes; give --execute-code on the command line "
    "(execute_code='sandbox' from Python) to allow that on this machine\n"
)
ROW = {"completion": "pass", "test": "def check(f):\n    assert f is not None\n", "entry_point": "len"}


@pytest.fixture(autouse=True)
def rows(said: object) -> None:
    """Rows of a sort that any Python passes, and the recipes."""
    Path("rows.jsonl").write_text("".join(json.dumps({"prompt": f"x = {n}\n", **ROW}) + "\n" for n in range(3)))
    Path("code.yaml").write_text(RECIPE)
    Path("stages.yaml").write_text(STAGES)


@pytest.mark.parametrize("recipe", ["code.yaml", "stages.yaml"])
def test_without_leave_nothing_begins(said, recipe: str):
    code, _, err = said("run", recipe, "--output", "out")
    assert (code, err) == (2, REFUSED)
    assert not Path("out").exists()


def test_a_machine_without_a_sandbox_is_refused_unless_it_may_do_without(said, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandbox, "_NAMESPACES", ["no-such-command"])
    code, _, err = said("run", "code.yaml", "--output", "out", "--execute-code")
    assert code == 2
    assert err.startswith(
        "this machine has no sandbox for code that the model writes (there is no 'no-such-command'); "
    )
    assert said("run", "code.yaml", "--output", "out", "--execute-code-without-sandbox")[::2] == (0, "")
    [file] = Path("out/samples").iterdir()
    scores = [json.loads(line)["rewards"]["code"] for line in file.read_text().splitlines()]
    assert len(scores) == 4 and set(scores) <= {0.0, 1.0}


def test_a_run_is_reproduced_with_the_same_leave(said):
    """The first run is with a machine's own Python, as one without a sandbox has to."""
    bare = "--execute-code-without-sandbox"
    assert said("run", "code.yaml", "--output", "out", bare)[0] == 0
    assert said("reproduce", "out", "--check")[::2] == (2, REFUSED)
    assert said("reproduce", "out", "--check", bare)[::2] == (0, "")


def test_a_pipeline_has_leave_from_python(said, monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []
    monkeypatch.setattr(pipeline, "require", lambda rewards: seen.append(granted()))
    alignkit.run_pipeline("stages.yaml", dry_run=True, quiet=True, execute_code="bare")
    assert seen == ["bare"] and granted() == "none"
