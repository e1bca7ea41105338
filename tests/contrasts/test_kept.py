"""What a kept file of contrastive values is told apart by: all that decides the two trainings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import peft
import pytest
import torch
from engine_toy import bench, llama, recipe, rows

from alignkit.asks.table import load_table
from alignkit.contrasts.values import LogRatio
from alignkit.engine.workbench import Workbench


@pytest.fixture
def files(tmp_path, monkeypatch) -> Iterator[Path]:
    monkeypatch.setenv("ALIGNKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "values"


def adapted(alpha: int, folder: Path) -> Workbench:
    """An adapter as it is before training: its parameters are the same whatever `alpha` is."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(llama(), config).eval()
    source = {"name": "scratch", "adapter": {"rank": 2, "alpha": alpha}}
    training = {"batch_size": 3, "learning_rate": 0.001, "warmup": 0.0}
    return bench(model, rows(), folder, recipe(model=source, training=training))


@pytest.mark.slow
def test_the_scale_of_an_adapter_decides_what_a_side_training_gives(files, tmp_path) -> None:
    """LoRA's alpha is no parameter, but another alpha trains another model."""
    values = LogRatio(contrast={"name": "sft", "steps": 2})
    small, large = (adapted(alpha, tmp_path / str(alpha)) for alpha in (2, 64))
    largest = [torch.cat(list(values.compute(rows(), of))).abs().max() for of in (small, large)]
    assert largest[1] > 4 * largest[0]
    for of in (small, large):
        load_table(values, rows(), of)
    assert len(list(files.iterdir())) == 2


@pytest.mark.slow
def test_a_side_training_is_told_apart_by_its_training_rows(files, tmp_path) -> None:
    """All are asked about the same rows."""
    values = LogRatio(contrast={"name": "sft", "steps": 1, "learning_rate": 0.01})
    for number, train in enumerate((rows(), rows()[:2], rows())):
        load_table(values, rows(), bench(llama(), train, tmp_path / str(number)))
    assert len(list(files.iterdir())) == 2
