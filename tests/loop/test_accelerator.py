"""What the accelerator cannot do is refused before anything is trained."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from loop_toy import make_config

from alignkit.errors import RecipeError
from alignkit.loop.accelerator import make_accelerator


def test_auto_precision_is_fp32_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    assert make_accelerator(make_config(precision="auto"), tmp_path).mixed_precision == "no"


def test_a_tracker_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: [])
    with pytest.raises(RecipeError) as caught:
        make_accelerator(make_config(trackers=["aim"]), tmp_path)
    assert str(caught.value) == (
        "training.trackers.0: tracker 'aim' is not installed; install its package or remove it from the list"
    )


def test_bf16_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.utils.is_bf16_available", lambda ignore_tpu: False)
    with pytest.raises(RecipeError) as caught:
        make_accelerator(make_config(precision="bf16"), tmp_path)
    assert str(caught.value) == "training.precision: this device has no bf16; give 'fp32'"


def test_accumulation_configured_in_the_launcher(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    with pytest.raises(RecipeError) as caught:
        make_accelerator(make_config(), tmp_path)
    assert str(caught.value) == (
        "accelerate is configured with gradient_accumulation_steps=4; leave it at 1 and give training.batch_size and "
        "training.micro_batch_size"
    )


@pytest.mark.parametrize("engine", ["FSDP", "DEEPSPEED"])
def test_a_launcher_that_would_shard_by_itself(tmp_path, monkeypatch, engine):
    """On a CPU accelerate would leave it out without a word."""
    monkeypatch.setenv(f"ACCELERATE_USE_{engine}", "true")
    monkeypatch.setattr("accelerate.Accelerator", lambda **options: SimpleNamespace(**PLAIN))
    with pytest.raises(RecipeError) as caught:
        make_accelerator(make_config(), tmp_path)
    assert str(caught.value) == (
        f"accelerate is configured for {engine}, which this loop does not drive; start plain processes "
        "(alignkit launch), and give parallel.strategy: fsdp to cut a model"
    )


PLAIN = {"distributed_type": SimpleNamespace(value="MULTI_CPU"), "gradient_accumulation_steps": 1}
