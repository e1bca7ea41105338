"""What processes cannot honour is refused in one line, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from alignkit.errors import RecipeError
from alignkit.parallel.config import ParallelConfig
from alignkit.recipe.load import load_recipe


def fsdp(**values: object) -> ParallelConfig:
    return ParallelConfig.model_validate({"strategy": "fsdp", **values})


@pytest.mark.parametrize(
    ("values", "processes"), [({}, 2), ({"shard": 4}, 4), ({"replicate": 2}, 8), ({"shard": 2, "replicate": 3}, 6)]
)
def test_what_fits(values: dict[str, int], processes: int) -> None:
    assert fsdp(**values).misfit(processes) is None


def test_ddp_asks_nothing() -> None:
    assert ParallelConfig().misfit(1) is None
    assert ParallelConfig().misfit(8) is None


@pytest.mark.parametrize(
    ("values", "processes", "misfit"),
    [
        (
            {},
            1,
            (
                "strategy",
                "'fsdp' cuts the model into pieces for several processes, and there is one; start more "
                "(alignkit launch RECIPE --processes 2), or give 'ddp'",
            ),
        ),
        (
            {"shard": 3},
            4,
            ("shard", "3 given, but 4 processes run; shard x replicate must be the number of processes"),
        ),
        (
            {"replicate": 3},
            4,
            ("replicate", "3 given, but 4 processes run; shard x replicate must be the number of processes"),
        ),
        (
            {"replicate": 4},
            4,
            ("replicate", "leaves nothing to cut: each process would hold the whole model; give 'ddp'"),
        ),
    ],
)
def test_what_does_not(values: dict[str, int], processes: int, misfit: tuple[str, str]) -> None:
    assert fsdp(**values).misfit(processes) == misfit


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"training.optimizer": "adamw_8bit"},
            "training.optimizer: 'adamw_8bit' cannot be cut into pieces, as its scales are of whole tensors; give "
            "'adamw', or parallel.strategy 'ddp'",
        ),
        (
            {"model": {"name": "pretrained", "path": "org/name", "quantize": "nf4", "adapter": {"rank": 2}}},
            "model.quantize: weights in 'nf4' cannot be cut into pieces; leave it out, or give parallel.strategy 'ddp'",
        ),
    ],
)
def test_numbers_in_few_bits_are_not_cut(tmp_path: Path, given: dict[str, object], message: str) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "data: {train: builtin:world}\nlosses: [{name: dpo}]\nmodel: {name: world}\ntrainer: preference\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, {**given, "parallel.strategy": "fsdp"})
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(("key", "value"), [("shard", 2), ("replicate", 2), ("offload", True)])
def test_keys_of_fsdp_alone(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        ParallelConfig.model_validate({key: value})
    assert caught.value.errors()[0]["msg"] == f"'{key}' belongs to 'fsdp'; strategy is 'ddp'"
