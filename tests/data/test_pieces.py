"""Tokens as text: joined they are the response, whatever they would be alone."""

from __future__ import annotations

import pytest
import tokenizers

from alignkit.data.pieces import MOST_PARTS, pieces_of


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_tokens_of_one_character_give_it_to_the_first(make_bytes):
    tokenizer = make_bytes()
    ids = ids_of(tokenizer, "a🙂é\n")
    assert tokenizer.decode(ids[1:2]) == "\ufffd"
    assert pieces_of(tokenizer, ids) == ["a", "🙂", "", "", "", "é", "", "\n"]


def test_a_token_may_hold_parts_of_two_characters(make_bytes):
    """é is C3 A9: a token A9 C3 ends the first and begins the second, so neither is whole before the third token."""
    tokenizer = make_bytes(merges=[("©", "Ã")])
    ids = ids_of(tokenizer, "éé")
    assert len(ids) == 3 and pieces_of(tokenizer, ids) == ["éé", "", ""]


def test_bytes_that_are_no_character_are_not_awaited_for_ever(make_bytes):
    tokenizer = make_bytes()
    (half,) = ids_of(tokenizer, "é")[:1]
    pieces = pieces_of(tokenizer, [half] * (2 * MOST_PARTS) + ids_of(tokenizer, "ok"))
    assert len(pieces) == 2 * MOST_PARTS + 2 and pieces[-2:] == ["o", "k"]
    assert "".join(pieces) == "\ufffd" * (2 * MOST_PARTS) + "ok"


def test_the_first_token_is_what_it_is_after_the_prompt(make_metaspace):
    """Alone it would lose its blank."""
    tokenizer = make_metaspace()
    tokenizer.backend_tokenizer.decoder = tokenizers.decoders.Metaspace(prepend_scheme="first")
    prompt, ids = ids_of(tokenizer, "Hi"), ids_of(tokenizer, "Hi there")[1:]
    assert tokenizer.decode(ids) == "there"
    assert pieces_of(tokenizer, ids, prompt) == [" there"]


def test_special_tokens_are_written_out(make_bytes):
    tokenizer = make_bytes()
    assert pieces_of(tokenizer, [*ids_of(tokenizer, "a"), tokenizer.eos_token_id]) == ["a", "</s>"]


@pytest.mark.parametrize("text", ["", "a", "naïve 🙂🙂 \t\r\n", "\u202e\u0000<|eot|>", "x" * 3000])
def test_nothing_is_lost(make_bytes, text):
    ids = ids_of(make_bytes(), text)
    pieces = pieces_of(make_bytes(), ids)
    assert len(pieces) == len(ids) and "".join(pieces) == text
