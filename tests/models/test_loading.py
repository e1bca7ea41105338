"""The net around other libraries' loading: one line for whatever they raise."""

from __future__ import annotations

import json

import pytest
from engine_toy import llama

from alignkit.errors import ModelError
from alignkit.models.base import LoRA
from alignkit.models.loading import loading
from alignkit.models.policy import _with_adapter

ERRORS = [
    (ValueError("a\nb"), "a"),
    (ValueError("field 'x':\n  must be 1\nor 2"), "field 'x': must be 1"),
    (KeyError("rope"), "KeyError: 'rope'"),
    (AttributeError("\n\n no 'weight'\n"), "AttributeError: no 'weight'"),
    (RuntimeError(), "RuntimeError"),
    (FileNotFoundError(2, "No such file", "x"), "FileNotFoundError"),
    (OSError(36, "File name too long", "x"), "File name too long"),
    (OSError("config.json is not there"), "config.json is not there"),
    (ValueError("x" * 1000), "x" * 300),
]


@pytest.mark.parametrize(("error", "reason"), ERRORS)
def test_one_line_of_any_error(error, reason):
    with pytest.raises(ModelError) as caught, loading("model.path: F cannot be read"):
        raise error
    assert str(caught.value) == f"model.path: F cannot be read: {reason}"


def test_our_own_errors_and_interrupts_pass():
    with pytest.raises(ModelError) as caught, loading("model.path: F"):
        raise ModelError("as it is")
    assert str(caught.value) == "as it is"
    with pytest.raises(KeyboardInterrupt), loading("model.path: F"):
        raise KeyboardInterrupt


def test_whatever_peft_trips_over(monkeypatch):
    def fail(model, config):
        raise AttributeError("'Router' object has no attribute 'in_features'")

    monkeypatch.setattr("peft.get_peft_model", fail)
    with pytest.raises(ModelError) as caught:
        _with_adapter(llama(), LoRA(), seed=0)
    assert str(caught.value) == (
        "model.adapter.targets: AttributeError: 'Router' object has no attribute 'in_features'"
    )


def test_depth_of_json_is_no_traceback():
    with pytest.raises(ModelError, match=r"^F: maximum recursion depth exceeded"), loading("F"):
        json.loads("[" * 100_000)
