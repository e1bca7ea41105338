"""Settings of `training` that cannot be honoured together are refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from alignkit.trainers.config import FREE_ON_RESUME, TrainingConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 1.0, "steps": 5}, "give either 'epochs' or 'steps', the other one null"),
        ({"optimizer": "rmsprop", "betas": [0.9, 0.95]}, "'betas' belongs to 'adamw'; optimizer is 'rmsprop'"),
        ({"optimizer": "rmsprop", "weight_decay": 0.1}, "'weight_decay' belongs to 'adamw'; optimizer is 'rmsprop'"),
    ],
)
def test_conflicts(values, message):
    with pytest.raises(ValidationError) as caught:
        TrainingConfig(**values)
    assert [error["msg"] for error in caught.value.errors()] == [message]


def test_a_dumped_config_parses_again():
    for values in ({}, {"steps": 5}, {"epochs": 2.0}, {"optimizer": "rmsprop"}):
        config = TrainingConfig(**values)
        assert TrainingConfig.model_validate(config.model_dump(mode="json")) == config


def test_keys_free_on_resume_exist():
    assert set(TrainingConfig.model_fields) >= FREE_ON_RESUME
