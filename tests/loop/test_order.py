"""The order of the data: every row once an epoch, the same for any number of processes, pinned by a golden value."""

from __future__ import annotations

from itertools import chain

import pytest
from loop_toy import make_config, make_rows

from alignkit.loop.order import DataOrder, Share, epoch_order, planned_steps

ROWS = make_rows(21)


def indices(rows):
    return [row.index for row in rows]


def test_order_of_a_seed_is_pinned():
    """Recorded with numpy 2: another value here breaks the resume of every run made before."""
    assert epoch_order(8, 0, 0).tolist() == [0, 6, 4, 1, 3, 2, 7, 5]
    assert epoch_order(8, 0, 1).tolist() == [2, 6, 0, 5, 3, 7, 1, 4]
    assert epoch_order(8, 1, 0).tolist() == [5, 6, 3, 0, 4, 2, 1, 7]


def test_each_epoch_holds_every_row_once_and_ends_with_the_smaller_batch():
    """21 rows in batches of 8: 8, 8, 5, and again."""
    order = DataOrder(ROWS, 8, seed=3)
    epochs = [[indices(order.batch(step)) for step in range(start, start + 3)] for start in (0, 3)]
    assert [[len(batch) for batch in batches] for batches in epochs] == [[8, 8, 5], [8, 8, 5]]
    assert [sorted(chain(*batches)) for batches in epochs] == [list(range(21))] * 2
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("num_processes", [1, 2, 3, 8])
def test_shares_of_the_processes_are_the_batch(num_processes):
    order = DataOrder(ROWS, 8, seed=3)
    for step in range(3):
        shares = [order.share(step, process, num_processes) for process in range(num_processes)]
        worked = [row for share in shares if share.factor for row in share.rows]
        assert indices(worked) == indices(order.batch(step))
        assert all(share.rows for share in shares)


def test_a_process_without_rows_accompanies_the_first_row_at_no_weight():
    """5 rows over 8 processes: process 0 has rows 0 * 5 // 8 to 1 * 5 // 8, that is none; process 1 has row 0."""
    order = DataOrder(ROWS, 8, seed=3)
    first = order.batch(2)[0]
    assert order.share(2, 0, 8) == Share((first,), 0.0)
    assert order.share(2, 1, 8).rows == (first,)
    assert order.share(2, 1, 8).factor == 1.0


def test_micro_batches_keep_the_order():
    share = DataOrder(ROWS, 8, seed=3).share(0, 0, 1)
    assert [len(rows) for rows in share.micro_batches(3)] == [3, 3, 2]
    assert indices(chain(*share.micro_batches(3))) == indices(share.rows)


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({}, 3),  # ceil(21 / 8)
        ({"epochs": 2.0}, 6),
        ({"epochs": 0.5}, 2),  # 1.5 steps, rounded to even
        ({"epochs": 0.01}, 1),
        ({"steps": 100}, 100),
        ({"batch_size": 64}, 1),
    ],
)
def test_planned_steps(values, steps):
    assert planned_steps(make_config(**{"steps": None, **values}), 21) == steps


def test_epochs_after():
    """After 3 of 3 steps one epoch; after 4, one epoch and 8 of 21 rows."""
    order = DataOrder(ROWS, 8, seed=3)
    assert [order.epochs_after(steps) for steps in (0, 1, 3, 4)] == [0.0, 8 / 21, 1.0, 1 + 8 / 21]
