"""The world's tokenizer: lossless, one token a word, nothing unknown, EOS and padding apart."""

from __future__ import annotations

import pytest

from alignkit.world import WorldConfig, generate
from alignkit.world.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_round_trip_of_every_text(tokenizer):
    for split in ("train", "eval"):
        for row in generate(WorldConfig(pairs=300), split, seed=0):
            for text in (row.prompt, row.chosen, row.rejected, row.prompt + row.chosen):
                ids = tokenizer(text)["input_ids"]
                assert tokenizer.decode(ids) == text
                assert tokenizer.unk_token_id not in ids


def test_prompt_and_response_tokenise_apart_as_together(tokenizer):
    for row in generate(WorldConfig(pairs=100), "train", seed=0):
        apart = tokenizer(row.prompt)["input_ids"] + tokenizer(row.chosen)["input_ids"]
        assert tokenizer(row.prompt + row.chosen)["input_ids"] == apart


def test_one_token_a_word_or_mark(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("My fern has slugs. Any advice?\n")["input_ids"])
    assert tokens == ["My", " fern", " has", " slugs", ".", " Any", " advice", "?", "\n"]


def test_special_tokens(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.bos_token_id is None
    assert tokenizer("zebra")["input_ids"] == [2]
    ids = [*tokenizer("I would mist.")["input_ids"], tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "I would mist."


def test_longest_response_fits_the_evaluation_of_the_recipes(tokenizer):
    """Four fillers of 7 tokens at most, a carrier of 5, advice of 4, a full stop, two of the sign-off, EOS: 41."""
    rows = generate(WorldConfig(), "train", seed=0)
    assert max(len(tokenizer(row.chosen)["input_ids"]) + 1 for row in rows) <= 41


def test_the_knobs_need_no_word_that_is_not_there(tokenizer):
    """So the shipped model serves every world; it has not met these words in responses."""
    hard = WorldConfig(pairs=300, echo_share=0.5, rare_share=0.5, style_share=0.5)
    for row in generate(hard, "train", seed=0):
        for text in (row.chosen, row.rejected):
            ids = tokenizer(text)["input_ids"]
            assert tokenizer.unk_token_id not in ids and tokenizer.decode(ids) == text
