"""Bytes and work of operations whose account can be made by hand."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from alignkit.plan.ledger import Ledger

KIB = 1024


def kib(number: int) -> torch.Tensor:
    """A tensor of so many KiB."""
    return torch.ones(number * KIB // 4)


def test_the_peak_is_what_lives_at_once():
    with Ledger() as ledger, ledger.measuring("stage") as stage:
        first = kib(4)  # 4
        second = first + 1  # 4 + 4
        del first  # 4
        third = second * 2  # 4 + 4
        del second, third  # 0
        fourth = kib(3)  # 3
    assert (stage.peak, stage.name, len(fourth)) == (8 * KIB, "stage", 768)


def test_views_and_changes_in_place_take_nothing():
    with Ledger() as ledger, ledger.measuring("stage") as stage:
        kib(4).view(2, -1).t()[1:].add_(1)
    assert stage.peak == 4 * KIB


def test_a_stage_begins_with_what_lives_already():
    given = kib(2)
    with Ledger() as ledger:
        ledger.see([given], "parameters")
        with ledger.measuring("small") as small:
            pass
        with ledger.measuring("large") as large:
            _ = given + 1
    assert (small.peak, large.peak) == (2 * KIB, 4 * KIB)
    assert large.parts == {"parameters": 2 * KIB, "activations": 2 * KIB}
    assert ledger.stages == [small, large]


def test_what_has_the_vocabulary_s_columns_is_logits():
    with Ledger(vocabulary=16) as ledger, ledger.measuring("stage") as stage:
        _ = torch.ones(4, 16), torch.ones(16), torch.ones(4, 8)
    assert stage.parts == {"logits": 4 * 16 * 4, "activations": 16 * 4 + 4 * 8 * 4}


def test_a_kind_may_be_told_later():
    with Ledger() as ledger:
        gradient = kib(1)
        ledger.see([gradient], "gradients")
        with ledger.measuring("stage") as stage:
            pass
    assert stage.parts == {"gradients": KIB}


def test_work_is_counted_per_operation():
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    with Ledger() as ledger, ledger.measuring("stage") as stage:
        a @ b
    # 2 x 3 x 5 x 7 operations; 15 + 35 numbers are read and 21 written, 4 bytes each.
    assert (stage.flops, stage.moved, stage.calls) == (210, 284, 1)


def test_attention_on_a_cpu_is_counted_as_its_two_products():
    q = torch.ones(2, 3, 4, 8)  # 2 rows, 3 heads, 4 places, 8 wide: 2 x (2 x 2 x 3 x 4 x 4 x 8) operations
    with Ledger() as ledger, ledger.measuring("stage") as stage:
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert stage.flops == 3072


def test_tensors_without_numbers_are_accounted_for_alike():
    def work() -> None:
        layer = torch.nn.Linear(32, 16)
        layer(torch.ones(8, 32)).relu().sum().backward()

    with Ledger() as real, real.measuring("stage") as truth:
        work()
    with FakeTensorMode(), Ledger() as fake, fake.measuring("stage") as found:
        work()
    assert (found.peak, found.flops, found.moved) == (truth.peak, truth.flops, truth.moved)
