"""Whole runs on other architectures than Llama: trained, or refused in one line before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from engine_toy import SIZES, build

from alignkit.errors import ModelError
from alignkit.recipe.load import load_recipe
from alignkit.run import run
from alignkit.world.tokenizer import build_tokenizer

RECIPE = """
model: {name: pretrained, path: PATH}
data: {train: "builtin:world", world: {pairs: 8, eval_pairs: 2}}
weighting: {name: hybrid}
losses:
  - {name: weighted_dpo, beta: 1.0}
  - {name: triplet, coefficient: 0.1, anchor: {name: sample_prompt, max_new_tokens: 4, refresh_every: 2}}
trainer: {name: preference}
training: {steps: 2, batch_size: 4, micro_batch_size: 2, learning_rate: 1.0e-3}
evaluation: {pairs: 2, samples: 2, max_new_tokens: 4}
"""


def recipe(folder: Path, config: transformers.PretrainedConfig, dtype: torch.dtype = torch.float32) -> Path:
    """A recipe on a model of this configuration with the world's tokenizer, both in `folder`."""
    tokenizer = build_tokenizer()
    config.vocab_size = len(tokenizer)
    config.pad_token_id, config.bos_token_id, config.eos_token_id = 0, 1, tokenizer.eos_token_id
    build(config).to(dtype).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.replace("PATH", str(folder / "model")))
    return path


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "sets",
    [
        [],
        ["model.adapter={rank: 2}", "model.gradient_checkpointing=true", "model.dtype=bfloat16"],
        ["model.layout=shared", "losses=[{name: weighted_dpo}]", "weighting=uniform"],  # its reference is loaded again
    ],
    ids=["all parameters", "bfloat16, LoRA, checkpointing", "cached reference"],
)
def test_gemma_2(sets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capped logits, a window longer than the rows, sampled anchors; the first loss is ln 2 + 0.1 x margin."""
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    config = transformers.Gemma2Config(**SIZES | {"max_position_embeddings": 512}, head_dim=4, sliding_window=512)
    path = run(load_recipe(recipe(tmp_path, config), sets), tmp_path / "run", False, False).folder
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss/weighted_dpo"] for line in lines if "loss/weighted_dpo" in line]
    assert losses[0] == pytest.approx(0.693, abs=0.02 if sets else 1e-3)
    assert (path / "DONE").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=16),
            r"^data\.max_length: the longest row has \d+ tokens, but gpt2 has no positions beyond token 16; lower ",
        ),
        (
            transformers.PhimoeConfig(**SIZES | {"max_position_embeddings": 512}, num_local_experts=2),
            r"^model\.gradient_checkpointing: phimoe draws at random in training mode ",
        ),
        (
            transformers.BertGenerationConfig(**SIZES | {"max_position_embeddings": 512}),
            r"^model: bert-generation is not supported: it is not causal: ",
        ),
    ],
    ids=["gpt2", "phimoe", "bert-generation"],
)
def test_refused_before_training(config: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    path = recipe(tmp_path, config)
    if config.model_type == "bert-generation":  # its class has no name that says what it is
        stored = json.loads((tmp_path / "model" / "config.json").read_text())
        (tmp_path / "model" / "config.json").write_text(json.dumps(stored | {"architectures": None}))
    with pytest.raises(ModelError, match=message):
        run(load_recipe(path, ["model.gradient_checkpointing=true"]), tmp_path / "run", False, False)
