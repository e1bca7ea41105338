"""A scratch model and an adapter on it in folders, to be damaged."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import transformers

from alignkit.models.scratch import Scratch
from alignkit.world import WorldConfig, generate

TEXTS = [f"{row.prompt}{row.chosen}" for row in generate(WorldConfig(pairs=100), "train", seed=0)]
SMALL = Scratch(name="scratch", layers=1, width=32, heads=2, vocab_size=512, max_positions=64)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scratch model and its tokenizer in a folder."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = SMALL.load_tokenizer(TEXTS)
    tokenizer.save_pretrained(folder)
    SMALL.load_model(tokenizer, seed=0).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of rank 2 on all linear layers of `saved`, in a folder with the tokenizer."""
    folder = tmp_path_factory.mktemp("adapter")
    base = transformers.AutoModelForCausalLM.from_pretrained(saved)
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    peft.get_peft_model(base, config).save_pretrained(folder)
    SMALL.load_tokenizer(TEXTS).save_pretrained(folder)
    return folder
