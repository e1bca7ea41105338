"""The order of the data: every row once an epoch, the same for any number of processes, pinned by a golden value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pytest
from loop_toy import Padded, make_config, make_rows

from alignkit.data.rows import TokenRow
from alignkit.loop.order import Cut, DataOrder, Share, epoch_order, planned_steps

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
        assert sorted(indices(worked)) == sorted(indices(order.batch(step)))
        sizes = [len(share.rows) for share in shares if share.factor]
        assert max(sizes) - min(sizes) <= 1
        assert all(share.rows for share in shares)


def test_a_process_without_rows_accompanies_the_first_row_at_no_weight():
    """5 rows over 8 processes, of which the last three get none."""
    order = DataOrder(ROWS, 8, seed=3)
    first = order.batch(2)[0]
    assert [len(order.share(2, process, 8).rows) for process in range(8)] == [1] * 8
    assert [order.share(2, process, 8).factor for process in range(8)] == [1.0] * 5 + [0.0] * 3
    assert order.share(2, 7, 8) == Share((first,), 0.0)


def sized(*sizes: int, prompts: Sequence[int] | None = None) -> list[TokenRow]:
    """Rows of 1 prompt token, by default each another one, and `size` - 1 response tokens; numbered from 0."""
    ids = np.zeros(max(sizes), dtype=np.int32)
    first = [np.array([token]) for token in prompts or range(len(sizes))]
    return [TokenRow(n, f"f:{n}", first[n], {"chosen": ids[1:size]}) for n, size in enumerate(sizes)]


def test_shares_have_about_as_many_tokens():
    """By length 90 70 60 50 40 20 go to processes 0 1 2 2 1 0: 110 tokens each; a share keeps the order of the step."""
    rows = sized(20, 40, 50, 60, 70, 90)
    shares = [Share.of(rows, process, 3).rows for process in range(3)]
    assert [indices(share) for share in shares] == [[0, 5], [1, 4], [2, 3]]
    assert [sum(row.num_tokens for row in share) for share in shares] == [110, 110, 110]


def test_micro_batches_hold_rows_of_like_lengths_in_the_order_of_the_step():
    rows = sized(5, 9, 3, 8, 4, 7)
    assert [indices(part) for part in Cut(2).by_length(rows, Padded)] == [[1, 3], [0, 5], [2, 4]]
    assert [indices(part) for part in Cut(4).by_length(rows, Padded)] == [[0, 1, 3, 5], [2, 4]]
    assert [indices(part) for part in Cut(6).by_length(rows, Padded)] == [[0, 1, 2, 3, 4, 5]]


def test_tokens_of_a_micro_batch_count_padding():
    """Of 9 8 7 5 4 3 at most 16 places: 9 alone, as 2 x 9 are 18; 2 x 8; 3 x 5. With 8, 9 goes alone too."""
    rows = sized(5, 9, 3, 8, 4, 7)
    assert [indices(part) for part in Cut(1, 16).by_length(rows, Padded)] == [[1], [3, 5], [0, 2, 4]]
    assert [indices(part) for part in Cut(1, 8).by_length(rows, Padded)] == [[1], [3], [5], [0], [2, 4]]
    assert [indices(part) for part in Cut(1, 54).by_length(rows, Padded)] == [[0, 1, 2, 3, 4, 5]]


def test_consecutive_parts_are_as_full_as_they_can_be():
    rows = sized(2, 3, 4, 2)
    assert Cut(2).parts(rows[:3], Padded) == [slice(0, 2), slice(2, 3)]
    assert Cut(2, 8).parts(rows, Padded) == [slice(0, 2), slice(2, 4)]  # 3 x 4 would be 12
    assert Cut(2, 8).parts([], Padded) == []


def test_rows_of_one_prompt_stay_together():
    """In a micro-batch, where the prompt may be computed once, and in a share: two prompts for two processes. Of three
    prompts the rows are dealt: by length 9 8 7 6 5 4 to processes 0 1 1 0 0 1."""
    rows = sized(9, 7, 5, 8, 6, 4, prompts=[1, 1, 1, 2, 2, 2])
    assert [indices(part) for part in Cut(3).by_length(rows, Padded)] == [[0, 1, 2], [3, 4, 5]]
    assert [indices(Share.of(rows, process, 2).rows) for process in range(2)] == [[0, 1, 2], [3, 4, 5]]
    apart = sized(9, 7, 5, 8, 6, 4, prompts=[1, 1, 1, 2, 2, 3])
    assert [indices(Share.of(apart, process, 2).rows) for process in range(2)] == [[0, 2, 4], [1, 3, 5]]


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
