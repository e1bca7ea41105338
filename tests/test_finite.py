"""Requirements: asked at once, or by whoever postponed them."""

from __future__ import annotations

import pytest
import torch

from alignkit.errors import NonFiniteError
from alignkit.finite import postponed, require

YES, NO = torch.tensor(True), torch.tensor(False)


def test_is_asked_at_once():
    require(YES, "unused")
    with pytest.raises(NonFiniteError) as caught:
        require(NO, "the weights are NaN")
    assert str(caught.value) == "the weights are NaN"


def test_can_wait():
    with postponed() as required:
        require(YES, "first")
        require(NO, "second")
    assert [(bool(one.holds), one.message) for one in required] == [(True, "first"), (False, "second")]


def test_waits_no_longer_than_told():
    """Nor does what is postponed inside reach the outside, and an error ends the waiting too."""
    with postponed() as outer:
        with pytest.raises(ValueError), postponed() as inner:
            require(NO, "inner")
            raise ValueError
        require(NO, "outer")
    assert [one.message for one in inner] == ["inner"] and [one.message for one in outer] == ["outer"]
    with pytest.raises(NonFiniteError):
        require(NO, "at once again")
