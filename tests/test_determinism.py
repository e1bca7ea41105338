"""Two identical runs give the same bits with more than one thread, in one piece or killed and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from alignkit.determinism import deterministic
from alignkit.errors import ModelError
from alignkit.models.layout import Example, collate
from alignkit.models.scorer import Scorer, Want

HH = Path(__file__).parent / "data" / "hh_harmless.jsonl.gz"
RECIPE = f"""
model: {{name: scratch, layers: 2, width: 128, heads: 4, vocab_size: 1024}}
data: {{train: {HH}, max_rows: 48, holdout: 8, max_length: 512, on_overflow: truncate_prompt, on_bad_row: drop}}
weighting: {{name: hybrid, gradient: {{name: gradient}}, prior: {{name: prior}}}}
losses:
  - {{name: weighted_dpo, beta: 1.0}}
  - {{name: triplet, coefficient: 0.1, anchor: {{name: sample_prompt, max_new_tokens: 16, refresh_every: 2}}}}
trainer: {{name: preference}}
training: {{steps: 8, batch_size: 8, micro_batch_size: 4, learning_rate: 1.0e-3, save_every: 1}}
evaluation: {{pairs: 8, samples: 0}}
"""


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def gradient(scorer: Scorer, batch) -> torch.Tensor:
    scorer.zero_grad()
    scorer(batch, Want()).logp_BRT.square().sum().backward()
    return torch.cat([parameter.grad.flatten() for parameter in scorer.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["packed", "shared"])
def test_a_backward_pass_gives_the_same_bits_each_time(two_threads: None, layout: str) -> None:
    """The end of a shared prompt predicts three responses; one of them is the other thread's first piece of work."""
    sizes = {"hidden_size": 512, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=97, **sizes)
    scorer = Scorer(transformers.LlamaForCausalLM(config).eval(), head_chunk=4096)
    ids = np.arange(400) * 31 % 97
    batch = collate([Example(ids[:9], [ids[20:21], ids[60:159], ids[5:105]])], layout, pad_id=0)
    first = gradient(scorer, batch)
    assert [torch.equal(gradient(scorer, batch), first) for _ in range(40)] == [True] * 40


class TestOperationsOfAModel:
    def test_are_deterministic_inside_and_as_they_were_afterwards(self) -> None:
        torch.use_deterministic_algorithms(False)
        with deterministic(True):
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.are_deterministic_algorithms_enabled()

    def test_one_that_has_no_deterministic_form_is_named(self) -> None:
        ids, values = torch.zeros(1, dtype=torch.long), torch.ones(1)
        with pytest.raises(ModelError) as caught, deterministic(True):
            torch.zeros(2).put_(ids, values)  # of the few that have none on a CPU either
        assert str(caught.value) == (
            "put_, an operation of this model, has no deterministic form on this device; set "
            "training.deterministic: false and runs will differ in their last bits"
        )
        with deterministic(False):
            torch.zeros(2).put_(ids, values)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1", "ALIGNKIT_CACHE": str(folder)}
    command = [sys.executable, "-m", "alignkit", "run", "recipe.yaml", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def killed_after(steps: int, process: subprocess.Popen[str], log: Path) -> None:
    """Ends the process, without a warning, once it has logged so many steps."""
    while not (log.exists() and log.read_bytes().count(b"\n") >= steps):
        assert process.poll() is None, process.communicate()[0].decode()
        time.sleep(0.01)
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_two_runs_and_one_that_was_killed_end_in_the_same_bits(tmp_path: Path) -> None:
    """The whole program, anchors included, with two threads."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    for name in ("one", "two"):
        output, _ = (process := start(tmp_path, "--output", name)).communicate()
        assert process.returncode == 0, output.decode()
    killed_after(3, start(tmp_path, "--output", "killed"), tmp_path / "killed" / "metrics.jsonl")
    killed_after(6, start(tmp_path, "--output", "killed", "--resume"), tmp_path / "killed" / "metrics.jsonl")
    output, _ = (process := start(tmp_path, "--output", "killed", "--resume")).communicate()
    assert process.returncode == 0, output.decode()
    assert b"resuming after step" in output
    first = safetensors.torch.load_file(tmp_path / "one" / "final" / "model.safetensors")
    for name in ("two", "killed"):
        again = safetensors.torch.load_file(tmp_path / name / "final" / "model.safetensors")
        assert [key for key in first if not torch.equal(first[key], again[key])] == []
        assert lines(tmp_path / name) == lines(tmp_path / "one")


def lines(folder: Path) -> list[dict[str, float]]:
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in logged]
