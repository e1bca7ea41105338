"""Liked words count for a response and disliked ones against it, as a share of its words."""

from __future__ import annotations

import numpy as np
import pytest
from lexicon_reward import Lexicon
from pydantic import ValidationError

from alignkit.conformance import check_component
from alignkit.rewards.base import Sample


def sample(text):
    return Sample(prompt="?", response=text, response_ids=np.arange(3), finished=True, columns={})


def test_it_keeps_its_promises():
    check_component(Lexicon, liked=["so"], disliked=["no"])


def test_values():
    """Two liked of four words; one of each of three; one disliked word alone; and no word."""
    reward = Lexicon(liked=("Thanks", "welcome"), disliked=("sorry",))
    texts = ("Thanks, you are WELCOME.", "Thanks. Sorry, thankless!", "sorry", "?!")
    assert reward.score([sample(text) for text in texts]) == [2 / 4, 0, -1, 0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "no word is liked or disliked; give some"),
        ({"liked": ["Yes"], "disliked": ["yes"]}, "'yes' is liked and disliked; leave it in one list"),
    ],
)
def test_a_mistake_is_said(words, said):
    with pytest.raises(ValidationError) as caught:
        Lexicon.model_validate(words)
    assert [one["msg"] for one in caught.value.errors()] == [said]
