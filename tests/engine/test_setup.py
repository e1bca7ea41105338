"""What a run asks of its model: the longest row, read or sampled, and the key that bounds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from engine_toy import DPO, TRIPLET, recipe, rows
from rollout_toy import on_policy, online

from alignkit.data.rows import Tables, TokenRow
from alignkit.engine.setup import longest_rows
from alignkit.models.lengths import Longest
from alignkit.recipe.recipe import Recipe

TRAIN, EVAL = tuple(rows([(4, 6, 3), (2, 1, 5)])), tuple(rows([(7, 2, 1), (9, 1, 1)]))
"""Prompts of up to 4 and 9 tokens; the longest row has 4 + 6 or 9 + 1 tokens, the fullest 4 + 6 + 3."""


def words(text: str, add_special_tokens: bool) -> dict[str, list[int]]:
    """A tokenizer of one token per word."""
    return {"input_ids": list(range(len(text.split())))}


def longest(of: Recipe) -> Longest:
    return longest_rows(of.method(), of.sizes(), Tables(TRAIN, EVAL, (), end=0), words)


@pytest.mark.parametrize(
    ("losses", "evaluation", "wanted"),
    [
        ([DPO], {"samples": 0}, Longest(10, "data.max_length", 13)),
        ([DPO], {"samples": 2, "max_new_tokens": 8}, Longest(17, "evaluation.max_new_tokens", 17)),
        ([DPO], {"samples": 1, "max_new_tokens": 8}, Longest(15, "evaluation.max_new_tokens", 15)),
        ([DPO], {"samples": 1, "max_new_tokens": 3}, Longest(10, "data.max_length", 13)),
    ],
)
def test_the_longest_row(losses: list[Any], evaluation: dict[str, Any], wanted: Longest) -> None:
    assert longest(recipe(losses, evaluation=evaluation)) == wanted


def test_an_anchor_makes_shared_rows_longer() -> None:
    """A prompt of 9 with an anchor of 4; 4 + 6 + 3 tokens and an anchor of 4."""
    anchored = TRIPLET | {"anchor": {"name": "sample_prompt", "max_new_tokens": 4}}
    of = recipe([DPO, anchored], evaluation={"samples": 0})
    assert longest(of) == Longest(13, "the anchor's max_new_tokens", 17)


def test_a_text_before_the_prompt_counts() -> None:
    """Three words before 4 + 6 and 4 + 6 + 3 tokens."""
    contrast = {"name": "prompts", "positive": "be good", "negative": "be very bad"}
    of = recipe([DPO], weighting={"name": "tis", "contrast": contrast}, evaluation={"samples": 0})
    assert longest(of) == Longest(13, "data.max_length", 16)


def test_what_is_sampled_to_train_on_counts() -> None:
    """Prompts of 4 and 9 tokens, responses of 6; both of a pair follow a shared prompt, and the anchor after them."""
    tables = Tables(tuple(prompts_of(TRAIN)), tuple(prompts_of(EVAL)), (), end=0)
    anchored = TRIPLET | {"anchor": {"name": "sample_prompt", "max_new_tokens": 4}}
    found = [
        longest_rows(of.method(), of.sizes(), tables, words)
        for of in (
            on_policy(evaluation={"samples": 0}),
            online([DPO], evaluation={"samples": 0}),
            online([DPO, anchored], evaluation={"samples": 0}),
        )
    ]
    assert found == [Longest(15, "sampler.max_new_tokens", shared) for shared in (15, 21, 25)]


def prompts_of(rows: Sequence[TokenRow]) -> list[TokenRow]:
    return [replace(row, responses={}) for row in rows]
