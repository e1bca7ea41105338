"""The models of a job, the same in alignkit's environment and in TRL's: random weights, from a file or made here."""

from __future__ import annotations

import torch
import transformers

from pricing.job import Job, Shape

SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
"""What the tokenizer has first."""


def load(job: Job, name: str) -> transformers.PreTrainedModel:
    """`policy` or `reference`; frozen weights below an adapter are bf16, all others float32."""
    if (job.folder / name / "config.json").exists():
        return transformers.AutoModelForCausalLM.from_pretrained(job.folder / name, dtype=torch.float32)
    with torch.device(job.device):
        model = make_model(job.shape, 0 if name == "policy" else 1)
    return model.to(torch.bfloat16) if job.lora else model


def make_model(shape: Shape, seed: int) -> transformers.LlamaForCausalLM:
    """A Llama with random weights."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=True,
        **SPECIAL,
    )
    return transformers.LlamaForCausalLM(config)
