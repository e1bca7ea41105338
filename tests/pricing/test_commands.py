"""The benchmarks run through: variants agree on the loss, memory is measured, a machine without a GPU is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pricing.taking import ROOT

pytestmark = pytest.mark.slow


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_price(tmp_path: Path):
    output = tmp_path / "price.json"
    done = run("price.py", "--variants", "products,plain,alignkit dpo", "--windows", "1", "--output", str(output))
    assert done.returncode == 0, done.stderr
    steps = json.loads(output.read_text())["steps"]
    assert [len(found) for found in steps.values()] == [9, 9, 9]
    losses = [[one["loss"] for one in steps[name]] for name in ("plain", "alignkit dpo")]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-4, atol=0.0)
    assert "| alignkit dpo / products |" in done.stdout


def test_memory(tmp_path: Path):
    output = tmp_path / "memory.json"
    done = run("price.py", "--memory", "--variants", "alignkit dpo", "--output", str(output))
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    needed = 4 * 4 * found["parameters"]  # parameters, gradients, two moments
    assert found["tensors"]["alignkit dpo"] > needed and found["resident"]["alignkit dpo"] > needed


def test_gpu_tries_itself_without_one(tmp_path: Path):
    output = tmp_path / "gpu.json"
    done = run("gpu.py", "--tiny", "--steps", "1", "--output", str(output))
    assert done.returncode == 0, done.stderr
    rows = json.loads(output.read_text())["rows"]
    assert not [row for row in rows if "failed" in row]
    assert {row["variant"] for row in rows} >= {"alignkit dpo", "alignkit tidpo", "alignkit grpo"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_needs_one():
    done = run("gpu.py")
    assert done.returncode == 2
    assert done.stderr == "there is no GPU that torch can use; --tiny tries the benchmark itself on the CPU\n"
