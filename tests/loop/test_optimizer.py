"""Learning rates worked by hand, and the optimizer's state as named tensors."""

from __future__ import annotations

import pytest
import torch
from loop_toy import Bigram, make_config

from alignkit.errors import CheckpointError
from alignkit.loop.optimizer import (
    load_optimizer_tensors,
    load_parameters,
    make_optimizer,
    not_finite,
    optimizer_tensors,
    trainable,
)
from alignkit.loop.schedule import learning_rate_factor


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", [0.0, 0.5, 1.0, 0.853553, 0.5, 0.146447]),  # (1 + cos(pi x / 4)) / 2 for x = 0, 1, 2, 3
        ("linear", [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]),
        ("constant", [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_schedules(schedule, expected):
    """6 steps, a third of them warm-up: 2 steps rising from 0, then 4 steps of decay towards 0 after the last."""
    factor = learning_rate_factor(make_config(schedule=schedule, warmup=1 / 3), 6)
    assert [factor(step) for step in range(6)] == pytest.approx(expected, abs=1e-6)


def test_no_warm_up_starts_at_the_peak():
    assert learning_rate_factor(make_config(warmup=0.0), 4)(0) == 1.0


def test_tied_parameters_are_trained_once_and_frozen_ones_not():
    assert list(trainable(Bigram())) == ["embedding.weight"]


@pytest.mark.parametrize(
    ("value", "found"), [(1.0, None), (3e38, None), (float("nan"), "b"), (float("inf"), "b"), (-float("inf"), "b")]
)
def test_what_is_not_finite_is_named(value, found):
    """3e38 is finite, though its square is not."""
    tensors = {"a": torch.ones(3), "empty": torch.ones(0), "b": torch.tensor([0.0, value]), "c": torch.ones(())}
    assert not_finite(tensors) == found
    assert not_finite({}) is None


@pytest.mark.parametrize("name", ["adamw", "rmsprop"])
def test_state_survives_as_tensors(name):
    """Two steps, then a third one by the original and by a copy made from the tensors: equal bit for bit."""
    config = make_config(optimizer=name)
    models = [Bigram(), Bigram()]
    optimizers = [make_optimizer(trainable(model), config) for model in models]

    def move(place):
        models[place].embedding.weight.grad = torch.full((10, 4), 0.3) * models[place].embedding.weight.detach()
        optimizers[place].step()

    move(0)
    move(0)
    load_parameters(trainable(models[1]), trainable(models[0]), "here")
    saved = optimizer_tensors(optimizers[0], trainable(models[0]))
    load_optimizer_tensors(
        optimizers[1], trainable(models[1]), {key: value.clone() for key, value in saved.items()}, "here"
    )
    move(0)
    move(1)
    expected = {"adamw": ["exp_avg", "exp_avg_sq", "step"], "rmsprop": ["square_avg", "step"]}[name]
    assert sorted(saved) == [f"embedding.weight/{quantity}" for quantity in expected]
    assert torch.equal(models[0].embedding.weight, models[1].embedding.weight)


def test_parameters_of_another_model_are_refused():
    with pytest.raises(CheckpointError) as caught:
        load_parameters(trainable(Bigram()), {"embedding.weight": torch.zeros(11, 4)}, "step-00000002")
    assert str(caught.value) == (
        "step-00000002: made with another model: parameter 'embedding.weight' has shape [11, 4] there "
        "and [10, 4] here; give the same model, or start a new run"
    )
