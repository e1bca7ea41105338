"""What micro-batches left on the device comes to the host in one transfer, each number in its place."""

from __future__ import annotations

import torch

from alignkit.finite import Requirement
from alignkit.loop.readings import MicroBatch, Reading, read, read_step

YES, NO = torch.tensor(True), torch.tensor(False)


def test_every_number_finds_its_place():
    """Tensors of any type beside numbers of the host; the first requirement that does not hold is told."""
    metrics = {"a": (torch.tensor(1.5), 2.0), "b": (3.0, torch.tensor(4))}
    first = MicroBatch([], torch.tensor(0.25), metrics, [Requirement(YES, "x")])
    second = MicroBatch([], torch.tensor(0.5), {}, [Requirement(YES, "x"), Requirement(NO, "y"), Requirement(NO, "z")])
    readings, norm = read_step([first, second], torch.tensor(7.0))
    assert readings == [
        Reading([], 0.25, {"a": (1.5, 2.0), "b": (3.0, 4.0)}, None),
        Reading([], 0.5, {}, "y"),
    ]
    assert norm == 7.0


def test_numbers_keep_their_bits():
    """float32 as it is; float64 that a step of the host gives; counts to 2**24; NaN; nothing at all."""
    third = torch.tensor(1 / 3)
    assert read([third, torch.tensor(2**24)]) == [third.item(), 2.0**24]
    assert read([torch.tensor(1 / 3, dtype=torch.float64), third, 1 / 3]) == [1 / 3, third.item(), 1 / 3]
    assert read([torch.tensor(torch.nan)]) != read([torch.tensor(torch.nan)])
    assert read([]) == [] and read([2, 0.5]) == [2.0, 0.5]


def test_tensors_with_a_gradient_are_read():
    assert read([torch.ones((), requires_grad=True)]) == [1.0]
