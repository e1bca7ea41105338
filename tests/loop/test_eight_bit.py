"""Moments in 8 bits: what is refused, and, where bitsandbytes is there, that a run resumes exactly."""

from __future__ import annotations

import pytest
import torch
from loop_toy import make_config

import alignkit
from alignkit.errors import RecipeError
from alignkit.loop.accelerator import make_accelerator
from alignkit.loop.checkpoint import read_tensors, write_tensors
from alignkit.loop.optimizer import load_optimizer_tensors, make_optimizer, not_finite, optimizer_tensors
from alignkit.models.world import FOLDER
from alignkit.plan.plan import make_plan

EIGHT = make_config(optimizer="adamw_8bit")


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr("alignkit.loop.accelerator.is_installed", lambda: False)
    with pytest.raises(RecipeError) as caught:
        make_accelerator(EIGHT, tmp_path)
    assert str(caught.value) == (
        "training.optimizer: 'adamw_8bit' needs the package bitsandbytes: pip install 'alignkit[quant]'"
    )


@pytest.mark.quant
def test_a_state_survives_as_tensors(tmp_path):
    """8,192 numbers have a byte for each moment and a scale for 256 of them; 100 numbers have float32."""
    torch.manual_seed(0)
    start = {"large": torch.randn(64, 128), "small": torch.randn(100)}
    models = [{name: torch.nn.Parameter(value.clone()) for name, value in start.items()} for _ in range(2)]
    optimizers = [make_optimizer(model, EIGHT) for model in models]

    def move(place: int, seed: int) -> None:
        torch.manual_seed(seed)
        for parameter in models[place].values():
            parameter.grad = torch.randn(parameter.shape)
        optimizers[place].step()

    move(0, 1)
    move(0, 2)
    for name, parameter in models[1].items():
        parameter.data = models[0][name].data.clone()
    saved = optimizer_tensors(optimizers[0], models[0])
    sizes = {name: tensor.nbytes for name, tensor in saved.items() if "qmap" not in name}
    assert sizes == {
        **{"large/step": 8, "large/state1": 8192, "large/state2": 8192, "large/absmax1": 128, "large/absmax2": 128},
        **{"small/step": 8, "small/state1": 400, "small/state2": 400},
    }
    assert not_finite(saved) is None
    write_tensors(tmp_path / "optimizer.safetensors", saved)
    load_optimizer_tensors(optimizers[1], models[1], read_tensors(tmp_path / "optimizer.safetensors"), "here")
    for place in range(2):
        move(place, 3)
    again = [optimizer_tensors(optimizer, model) for optimizer, model in zip(optimizers, models, strict=True)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in start)
    assert all(torch.equal(again[0][name], again[1][name]) for name in saved)


RECIPE = f"""
model: {{name: pretrained, path: {FOLDER}, quantize: nf4, adapter: {{rank: 64}}}}
data: {{train: "builtin:world", world: {{pairs: 24, eval_pairs: 4}}}}
weighting: {{name: gradient}}
losses: [{{name: weighted_dpo, beta: 0.1}}]
trainer: preference
training: {{steps: 4, batch_size: 4, learning_rate: 1.0e-3, warmup: 0.0, schedule: constant, optimizer: adamw_8bit}}
evaluation: {{pairs: 4, samples: 0}}
"""


@pytest.mark.quant
def test_a_run_over_packed_weights_resumes_exactly_and_is_planned(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "recipe.yaml").write_text(RECIPE)

    def adapter(name: str) -> dict[str, torch.Tensor]:
        return read_tensors(tmp_path / name / "final" / "adapter_model.safetensors")

    loaded = {steps: alignkit.load_recipe(tmp_path / "recipe.yaml", {"training.steps": steps}) for steps in (2, 4)}
    whole = alignkit.run(loaded[4], output=tmp_path / "whole", quiet=True)
    alignkit.run(loaded[2], output=tmp_path / "parts", quiet=True)
    resumed = alignkit.run(loaded[4], output=tmp_path / "parts", quiet=True, resume=True)
    assert whole.finished and resumed.finished
    assert all(torch.equal(value, adapter("parts")[name]) for name, value in adapter("whole").items())
    plan = make_plan(loaded[4]).plan
    assert plan.left_out == []
    assert plan.parameters == {"total": 739_584, "trained": 315_392}
    assert plan.memory.parts["optimizer state"] < 1.2 * 2 * 315_392
