"""Rows longer than a model can take are refused before training, with both lengths and the key to change."""

from __future__ import annotations

from typing import Any

import pytest
import transformers
from engine_toy import SIZES, VOCABULARY, build

from alignkit.errors import ModelError
from alignkit.models.lengths import Longest, notes_on_length, obstacle_of_window, require_length

GPT2 = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
OPT = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 16}
OPT |= {"word_embed_proj_dim": 16, "max_position_embeddings": 16}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 2, "long_factor": [3.0] * 2, "rope_theta": 1e4, "factor": 4.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
STRETCHED = "scores a row by the longest of its batch (longrope or dynamic positions) beyond token"
LIMITED = {
    "gpt2": (transformers.GPT2Config(**GPT2), "has no positions beyond token"),
    "opt": (transformers.OPTConfig(**OPT), "has no positions beyond token"),
    "ctrl": (
        transformers.CTRLConfig(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, dff=16, n_positions=16),
        "has no positions beyond token",
    ),
    "gptj": (transformers.GPTJConfig(**GPT2, rotary_dim=4), "has no positions beyond token"),
    "mpt": (
        transformers.MptConfig(vocab_size=VOCABULARY, d_model=16, n_layers=1, n_heads=2, max_seq_len=16),
        "has no positions beyond token",
    ),
    "phi3": (
        transformers.Phi3Config(**SIZES, rope_parameters=LONG, original_max_position_embeddings=16, pad_token_id=0),
        STRETCHED,
    ),
    "llama": (transformers.LlamaConfig(**SIZES | {"max_position_embeddings": 16}, rope_parameters=DYNAMIC), STRETCHED),
    "doge": (
        transformers.DogeConfig(**SIZES, keep_window_size=16),
        "scores a row by its padding (sparse attention) beyond token",
    ),
}


@pytest.mark.parametrize("name", LIMITED)
def test_rows_beyond_a_limit(name: str) -> None:
    config, reason = LIMITED[name]
    model = build(config)
    require_length(model, Longest(16, "data.max_length", 40))
    with pytest.raises(ModelError) as caught:
        require_length(model, Longest(17, "evaluation.max_new_tokens", 40))
    assert str(caught.value) == (
        f"evaluation.max_new_tokens: the longest row has 17 tokens, but {name} {reason} 16; "
        "lower evaluation.max_new_tokens so that no row is longer than that"
    )


def test_computed_positions_have_no_limit_but_a_note() -> None:
    """Rotary, and XGLM's table, which grows."""
    xglm = transformers.XGLMConfig(
        vocab_size=VOCABULARY, d_model=16, num_layers=1, attention_heads=2, ffn_dim=16, max_position_embeddings=64
    )
    for config in (transformers.LlamaConfig(**SIZES), xglm):
        model = build(config)
        require_length(model, Longest(1000, "data.max_length", 2000))
        assert notes_on_length(model, Longest(1000, "data.max_length", 2000)) == [
            "the longest row has 1000 tokens, the model was made for 64 (max_position_embeddings)"
        ]
        assert notes_on_length(model, Longest(64, "data.max_length", 2000)) == []


@pytest.mark.parametrize(
    ("fields", "shared", "is_obstacle"),
    [
        ({"sliding_window": 8}, None, True),
        ({"sliding_window": 8}, 9, True),
        ({"sliding_window": 8}, 8, False),
        ({"sliding_window": 8, "use_sliding_window": False}, 9, False),
        ({"sliding_window": None}, 9, False),
        ({"keep_window_size": 8}, 9, True),
        ({"index_topk": 8}, 9, True),
        ({"attention_chunk_size": 8}, 9, True),
    ],
)
def test_a_window_is_an_obstacle_where_a_row_reaches_beyond_it(
    fields: dict[str, Any], shared: int | None, is_obstacle: bool
) -> None:
    config = transformers.PretrainedConfig(**fields)
    found = obstacle_of_window(config, shared)
    assert found == ("its attention window of 8 tokens would be dropped" if is_obstacle else None)
    assert obstacle_of_window(config, shared, kept=tuple(fields)) is None
