"""Whole runs of two processes that share a model cut into pieces are those of one process, up to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from alignkit.loop.metrics import TIMING_KEYS

pytestmark = pytest.mark.slow  # whole runs in processes of their own

SCENARIOS = Path(__file__).with_name("sharded_scenarios.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs, made once."""
    folder = tmp_path_factory.mktemp("sharded")
    paths = os.pathsep.join([str(SCENARIOS.parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    outcome = subprocess.run(
        [sys.executable, str(SCENARIOS), str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return folder


def metrics_of(folder: Path) -> list[dict[str, float]]:
    """The lines of `metrics.jsonl` without what clocks say."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMING_KEYS} for line in lines]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """The trained tensors of a model's folder."""
    (file,) = folder.glob("*model.safetensors")
    return load_file(file)


def insist_on_the_same(one: Path, other: Path) -> None:
    """The same log and evaluations and, tensor by tensor, the same model, within rounding."""
    for single, shared in zip(metrics_of(one), metrics_of(other), strict=True):
        assert shared == pytest.approx(single, rel=1e-3, abs=1e-5)
    evaluations = [json.loads((folder / "eval.json").read_text()) for folder in (one, other)]
    for moment in ("before", "after"):
        assert evaluations[1][moment] == pytest.approx(evaluations[0][moment], rel=1e-3, abs=1e-4)
    for part in ("final", "checkpoints/step-00000002/model"):
        first, second = (weights_of(folder / part) for folder in (one, other))
        assert first.keys() == second.keys()
        for name, tensor in first.items():
            torch.testing.assert_close(second[name], tensor, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["dpo", "tidpo", "lora", "recomputed", "kto", "grpo", "offload"])
def test_two_processes_with_pieces_train_as_one(runs: Path, name: str) -> None:
    """Attribution, anchors and rollouts, live reference and adapter off, KL and samples, clipping, short batches."""
    insist_on_the_same(runs / f"{name}.one", runs / name)


@pytest.mark.parametrize("name", ["half", "bf16"])
def test_in_bf16_the_gradient_is_that_of_one_process(runs: Path, name: str) -> None:
    """bf16 copies of the pieces, or bf16 pieces, instead of operations that cast: the same, up to what 8 bits of a
    number say."""
    (one, after_one), (other, after_other) = (metrics_of(runs / run) for run in (f"{name}.one", name))
    assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-2)
    assert after_other["loss"] == pytest.approx(after_one["loss"], rel=2e-2)


def test_four_processes_in_two_groups_train_as_one(runs: Path) -> None:
    insist_on_the_same(runs / "dpo.one", runs / "replicated")


def test_each_process_holds_its_pieces_alone(runs: Path) -> None:
    """Together they hold parameters and the optimizer's memory once; each about half, as layers are cut by rows."""
    counts = [json.loads((runs / "dpo" / f"pieces-{rank}.json").read_text()) for rank in range(2)]
    for (whole, first), (same, second) in zip(*counts, strict=True):
        assert whole == same == first + second > 0
        assert first == pytest.approx(whole / 2, rel=0.01)


def test_a_stopped_adapter_goes_on_bit_for_bit(runs: Path) -> None:
    """The signal reached one of the two processes."""
    assert metrics_of(runs / "lora_stopped") == metrics_of(runs / "lora")
    file = "final/adapter_model.safetensors"
    assert (runs / "lora_stopped" / file).read_bytes() == (runs / "lora" / file).read_bytes()


def test_the_model_is_loadable_by_itself(runs: Path) -> None:
    """All of it is there, tied weights once, in float32."""
    model, info = AutoModelForCausalLM.from_pretrained(runs / "tidpo" / "final", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert weights_of(runs / "tidpo" / "final").keys() == weights_of(runs / "tidpo.one" / "final").keys()
    assert model.dtype == torch.float32


def test_responses_are_those_of_one_process(runs: Path) -> None:
    files = [runs / name / "samples" / "step_00001.jsonl" for name in ("grpo.one", "grpo")]
    drawn = [[json.loads(line)["response"] for line in file.read_text().splitlines()] for file in files]
    assert drawn[0] == drawn[1] and len(drawn[0]) > 3


def test_a_killed_run_goes_on_bit_for_bit(runs: Path) -> None:
    assert metrics_of(runs / "killed") == metrics_of(runs / "tidpo")
    for file in ("final/model.safetensors", "eval.json", "samples.jsonl"):
        assert (runs / "killed" / file).read_bytes() == (runs / "tidpo" / file).read_bytes()


@pytest.mark.parametrize("name", ["two_to_one", "one_to_two"])
def test_another_number_of_processes_goes_on(runs: Path, name: str) -> None:
    """Killed amid a window of anchors, which are in the checkpoint and known to whoever needs them."""
    for single, shared in zip(metrics_of(runs / "tidpo"), metrics_of(runs / name), strict=True):
        assert shared == pytest.approx(single, rel=1e-3, abs=1e-5)
    weights = weights_of(runs / name / "final")
    for key, tensor in weights_of(runs / "tidpo" / "final").items():
        torch.testing.assert_close(weights[key], tensor, rtol=0, atol=1e-4)
    record = json.loads((runs / name / "run.json").read_text())
    assert "parallel.strategy" in record["resumed"][0]["changes"]
