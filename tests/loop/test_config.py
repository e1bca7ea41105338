"""Settings of `training` that cannot be honoured together are refused."""

from __future__ import annotations

from typing import get_args

import pytest
from accelerate.utils import LoggerType
from pydantic import ValidationError

from alignkit.errors import RecipeError
from alignkit.loop.config import FREE_ON_RESUME, SCHEDULE, Tracker, TrainingConfig
from alignkit.recipe.load import load_recipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 1.0, "steps": 5}, "give either 'epochs' or 'steps', the other one null"),
        ({"optimizer": "rmsprop", "betas": [0.9, 0.95]}, "'betas' belongs to 'adamw'; optimizer is 'rmsprop'"),
        (
            {"parameters": "bf16", "optimizer": "rmsprop"},
            "'parameters: bf16' needs optimizer 'adamw', got 'rmsprop'",
        ),
        (
            {"parameters": "bf16", "precision": "fp32"},
            "'parameters: bf16' computes in bf16; precision is 'fp32', give 'auto' or 'bf16'",
        ),
        ({"optimizer": "rmsprop", "weight_decay": 0.1}, "'weight_decay' belongs to 'adamw'; optimizer is 'rmsprop'"),
    ],
)
def test_conflicts(values, message):
    with pytest.raises(ValidationError) as caught:
        TrainingConfig(**values)
    assert [error["msg"] for error in caught.value.errors()] == [message]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"betas": [1.5, 0.9]}, "Input should be less than 1"),
        ({"betas": [0.9, 1.0]}, "Input should be less than 1"),
        ({"betas": [-0.1, 0.9]}, "Input should be greater than or equal to 0"),
        ({"epochs": 1e308}, "Input should be less than or equal to 1000000"),
        ({"steps": 10**299}, "Input should be less than or equal to 1000000000"),
        ({"batch_size": 10**12}, "Input should be less than or equal to 1000000000"),
        ({"micro_batch_size": 10**12}, "Input should be less than or equal to 1000000000"),
        ({"keep_checkpoints": 10**12}, "Input should be less than or equal to 1000000000"),
    ],
)
def test_ranges(values, message):
    with pytest.raises(ValidationError) as caught:
        TrainingConfig(**values)
    assert [error["msg"] for error in caught.value.errors()] == [message]


def test_trackers_are_those_of_accelerate():
    assert {*get_args(Tracker), "all"} == set(LoggerType.list())


def test_an_unknown_tracker_is_refused_when_the_recipe_is_read(tmp_path):
    text = "model: world\ndata: {train: 'builtin:world'}\nlosses: [dpo]\ntrainer: preference\n"
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "r.yaml", ["training.trackers=[wandbb]"])
    assert str(caught.value) == (
        "--set training.trackers=[wandbb]: training.trackers.0: unknown value 'wandbb'; did you mean 'wandb'? "
        f"known: {', '.join(get_args(Tracker))}"
    )


def test_a_dumped_config_parses_again():
    for values in ({}, {"steps": 5}, {"epochs": 2.0}, {"optimizer": "rmsprop"}):
        config = TrainingConfig(**values)
        assert TrainingConfig.model_validate(config.model_dump(mode="json")) == config


def test_keys_free_on_resume_exist():
    assert set(TrainingConfig.model_fields) >= FREE_ON_RESUME | SCHEDULE
