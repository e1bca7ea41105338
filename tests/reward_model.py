"""A tiny reward model in a folder."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS = ["<eos>", "<unk>", "user", "assistant", "yes", "no", "why", "not", "maybe"]
TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} <eos> {% endfor %}"
LONGEST = 12


def saved(folder: Path, labels: int = 1, template: str | None = TEMPLATE) -> str:
    """A tiny classifier whose padding is its end token, as published ones often have it."""
    inner = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<eos>", unk_token="<unk>"
    )
    tokenizer.chat_template = template
    sizes = {"vocab_size": 16, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **sizes, num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=LONGEST, num_labels=labels
    )
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
