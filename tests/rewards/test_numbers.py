"""Rewards of a response's tokens and of its row, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from alignkit.rewards.base import Sample
from alignkit.rewards.column import ByColumn
from alignkit.rewards.length import Length
from alignkit.rewards.repetition import Repetition


def tokens(*ids, **columns):
    return Sample("?", "text", np.array(ids, dtype=np.int64), True, columns)


def of_lengths(reward, *lengths):
    return reward.score([tokens(*range(length)) for length in lengths])


def test_soft_overlong():
    """Of at most 10 tokens with a window of 4: 0 up to 6, then -1/4 for each token more, never below -1."""
    reward = Length(max=10, window=4)
    assert of_lengths(reward, 0, 6, 7, 9, 10, 12) == [0, 0, -0.25, -0.75, -1, -1]


def test_cosine():
    """Half way down at half of the length: cos(pi / 2) = 0; a third of it is cos(pi / 3) = 1 / 2."""
    reward = Length(shape="cosine", max=12, short=1.0, long=0.5)
    assert of_lengths(reward, 0, 4, 6, 12, 20) == pytest.approx([1, 0.875, 0.75, 0.5, 0.5])
    wrong = Length(shape="cosine", max=12, short=-1.0, long=-0.5)
    assert of_lengths(wrong, 0, 6, 12) == pytest.approx([-1, -0.75, -0.5])


def test_target():
    assert of_lengths(Length(shape="target", target=8), 8, 6, 10, 0, 30) == [0, -0.25, -0.25, -1, -1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "shape 'soft_overlong' needs 'max', tokens: the longest response, as the sampler's max_new_tokens"),
        (
            {"shape": "cosine"},
            "shape 'cosine' needs 'max', tokens: the longest response, as the sampler's max_new_tokens",
        ),
        ({"shape": "target", "max": 8}, "shape 'target' needs 'target', tokens: the length wanted"),
        ({"max": 8}, "window 64 is longer than max 8; make it smaller"),
    ],
)
def test_a_shape_has_its_length(fields, said):
    with pytest.raises(ValidationError) as caught:
        Length.model_validate(fields)
    assert [one["msg"] for one in caught.value.errors()] == [said]


def test_repetition():
    """1 2 1 2 1 2: four grams of three, two of them different; of pairs five, two different."""
    samples = [tokens(1, 2, 1, 2, 1, 2), tokens(1, 2, 3, 4), tokens(1, 2), tokens(), tokens(*[5] * 12)]
    assert Repetition().score(samples) == [-0.5, 0, 0, 0, 1 / 10 - 1]
    assert Repetition(n=2).score(samples[:1]) == [2 / 5 - 1]


def test_a_column():
    reward = ByColumn(column="worth")
    values = (0.5, -2, "1", None, True, float("inf"))
    assert reward.columns() == {"worth"}
    assert reward.score([tokens(1, worth=value) for value in values]) == [0.5, -2, None, None, None, None]
