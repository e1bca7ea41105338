"""What processes cannot honour is refused in one line, before anything is loaded."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from alignkit.errors import RecipeError
from alignkit.parallel.config import ParallelConfig


def fsdp(**values: object) -> ParallelConfig:
    return ParallelConfig.model_validate({"strategy": "fsdp", **values})


@pytest.mark.parametrize(
    ("values", "processes"), [({}, 2), ({"shard": 4}, 4), ({"replicate": 2}, 8), ({"shard": 2, "replicate": 3}, 6)]
)
def test_what_fits(values: dict[str, int], processes: int) -> None:
    fsdp(**values).check(processes, batch_size=processes)


def test_ddp_asks_nothing() -> None:
    ParallelConfig().check(processes=1, batch_size=1)
    ParallelConfig().check(processes=8, batch_size=1)


@pytest.mark.parametrize(
    ("values", "processes", "batch_size", "message"),
    [
        (
            {},
            1,
            8,
            "parallel.strategy: 'fsdp' cuts the model into pieces for several processes, and there is one; start more "
            "(alignkit launch RECIPE --processes 2), or give 'ddp'",
        ),
        (
            {"shard": 3},
            4,
            8,
            "parallel.shard: 3 given, but 4 processes run; shard x replicate must be the number of processes",
        ),
        (
            {"replicate": 3},
            4,
            8,
            "parallel.replicate: 3 given, but 4 processes run; shard x replicate must be the number of processes",
        ),
        (
            {"replicate": 4},
            4,
            8,
            "parallel.replicate: leaves nothing to cut: each process would hold the whole model; give 'ddp'",
        ),
        (
            {},
            4,
            3,
            "training.batch_size: 3 given for 4 processes, of which some would have nothing to do; give at least one "
            "example per process",
        ),
    ],
)
def test_what_does_not(values: dict[str, int], processes: int, batch_size: int, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        fsdp(**values).check(processes, batch_size)
    assert str(caught.value) == message


def test_moments_in_bytes_are_not_cut() -> None:
    with pytest.raises(RecipeError) as caught:
        fsdp().check(2, 8, "adamw_8bit")
    assert str(caught.value) == (
        "training.optimizer: 'adamw_8bit' cannot be cut into pieces, as its scales are of whole tensors; give 'adamw', "
        "or 'ddp'"
    )


@pytest.mark.parametrize(("key", "value"), [("shard", 2), ("replicate", 2), ("offload", True)])
def test_keys_of_fsdp_alone(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        ParallelConfig.model_validate({key: value})
    assert caught.value.errors()[0]["msg"] == f"'{key}' belongs to 'fsdp'; strategy is 'ddp'"
