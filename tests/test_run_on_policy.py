"""Whole on-policy runs: that they die and resume, or are split over two processes, does not change the result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from alignkit.loop.metrics import TIMING_KEYS

pytestmark = pytest.mark.slow  # whole runs in processes of their own

SCENARIOS = Path(__file__).with_name("on_policy_scenarios.py")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all scenarios, run once."""
    folder = tmp_path_factory.mktemp("on_policy")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    outcome = subprocess.run(
        [sys.executable, str(SCENARIOS), str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return folder


def metrics_of(folder: Path) -> list[dict[str, float]]:
    """The lines of `metrics.jsonl` without what clocks say."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMING_KEYS} for line in lines]


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("on_policy_within_step_2", "on_policy"),
        ("on_policy_while_it_samples", "on_policy"),
        ("online_within_step_2", "online"),
    ],
)
def test_a_killed_run_is_the_uninterrupted_one(runs: Path, name: str, base: str) -> None:
    assert metrics_of(runs / name) == metrics_of(runs / base)
    samples = [f"samples/{path.name}" for path in (runs / base / "samples").glob("*")]
    for file in ("final/model.safetensors", "eval.json", "samples.jsonl", *samples):
        assert (runs / name / file).read_bytes() == (runs / base / file).read_bytes()


def test_two_processes_draw_and_train_as_one(runs: Path) -> None:
    """The same responses, so that nothing but rounding is left to differ."""
    one, two = runs / "on_policy", runs / "on_policy_two_processes"
    for single, shared in zip(metrics_of(one), metrics_of(two), strict=True):
        assert shared == pytest.approx(single, rel=1e-3, abs=1e-5)
    (first, *_), (other, *_) = ((folder / "samples").glob("step_00001.jsonl") for folder in (one, two))
    responses = [[json.loads(line)["response"] for line in path.read_text().splitlines()] for path in (first, other)]
    assert responses[0] == responses[1]
    models = [load_file(folder / "final" / "model.safetensors") for folder in (one, two)]
    for name, tensor in models[0].items():
        torch.testing.assert_close(models[1][name], tensor, rtol=0, atol=2e-4)


def test_what_a_run_tells(runs: Path) -> None:
    lines = [json.loads(line) for line in (runs / "on_policy" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    drawing = {"reward", "reward_std", "frac_reward_zero_std", "groups/dropped", "rewards/regex/mean"}
    drawing |= {"rewards/regex/unscorable", "completions/mean_length", "completions/clipped_ratio"}
    training = {"loss/policy_gradient", "loss/policy_gradient_kl", "kl", "entropy", "ratio/mean", "weights/ess"}
    for line in lines:
        assert training <= line.keys() and line["grad_norm"] > 0
        assert drawing <= line.keys()
        assert ("rollout_seconds" in line) == bool(line["step"] % 2)  # the others draw nothing
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        assert {key: first[key] for key in drawing} == {key: second[key] for key in drawing}
    assert lines[0]["ratio/mean"] == 1.0 != lines[1]["ratio/mean"]
    assert lines[0]["groups/dropped"] > 0  # and others were drawn for them
    assert sorted(path.name for path in (runs / "on_policy" / "samples").iterdir()) == [
        "step_00001.jsonl",
        "step_00003.jsonl",
    ]
    after = json.loads((runs / "on_policy" / "eval.json").read_text())["after"]
    assert {"reward", "reward_se", "kl"} <= after.keys()
    assert not (runs / "online" / "samples").exists()
