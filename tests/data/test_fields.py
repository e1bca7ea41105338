"""Labels in every spelling; the other columns are tested with the formats that read them."""

from __future__ import annotations

import pytest

from alignkit.data.fields import Unusable, is_label, read_label


@pytest.mark.parametrize("value", [True, 1, 1.0, "true", "True", "TRUE", "1", "1.0"])
def test_desirable(value):
    assert read_label({"label": value}, "label") is True


@pytest.mark.parametrize("value", [False, 0, 0.0, "false", "False", "FALSE", "0", "0.0"])
def test_undesirable(value):
    assert read_label({"label": value}, "label") is False


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (2, "int 2"),
        (-1, "int -1"),
        (0.5, "float 0.5"),
        ("yes", 'str "yes"'),
        ("", 'str ""'),
        ([True], "list [true]"),
    ],
)
def test_no_label(value, given):
    assert not is_label(value)
    with pytest.raises(Unusable) as caught:
        read_label({"label": value}, "label")
    assert str(caught.value) == f"wrong type: 'label': expected true or false, got {given}"


def test_an_absent_label():
    with pytest.raises(Unusable) as caught:
        read_label({"prompt": "Q", "completion": "A"}, "label")
    assert str(caught.value) == "missing field: 'label'; columns of this row: prompt, completion"
    with pytest.raises(Unusable) as caught:
        read_label({"label": None}, "label")
    assert str(caught.value) == "null field: 'label'"
    assert not is_label(None)
