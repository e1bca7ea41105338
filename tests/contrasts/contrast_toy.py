"""Contrasts that train toy models for a few steps, and how their parameters are compared."""

from __future__ import annotations

from pathlib import Path

import torch
from engine_toy import bench, llama, recipe, rows
from torch import Tensor

from alignkit.contrasts import contrasts
from alignkit.contrasts.base import TrainedContrast
from alignkit.data.rows import TokenRow
from alignkit.engine.workbench import Workbench
from alignkit.models.reference import Reference

SIGNS = ("positive", "negative")
TRAINING = {"batch_size": 3, "micro_batch_size": 2, "learning_rate": 0.02, "warmup": 0.0, "schedule": "constant"}


def contrast(name: str, **values) -> TrainedContrast:
    built = contrasts.build(name, {"steps": 3, **values})
    assert isinstance(built, TrainedContrast)
    return built


def bench_in(folder: Path, train: list[TokenRow] | None = None, model=None, training=TRAINING, **sections) -> Workbench:
    return bench(model or llama(), train or rows(), folder, recipe(training=training, **sections))


def parameters(of: Reference | torch.nn.Module) -> dict[str, Tensor]:
    module = of.scorer if isinstance(of, Reference) else of
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def trained(of: TrainedContrast, bench: Workbench, sign: str = "positive") -> dict[str, Tensor]:
    return parameters(of.train(sign, bench.train, bench))
