"""Quantiles, bins, and the sizes of batches, by hand."""

from __future__ import annotations

import numpy as np

from alignkit.data.rows import TokenRow
from alignkit.loop.config import TrainingConfig
from alignkit.models.laid import Laid
from alignkit.plan.batches import micro_batches
from alignkit.plan.lengths import Lengths, lengths_of


def row(index: int, prompt: int, chosen: int, rejected: int) -> TokenRow:
    ids = [np.zeros(number, dtype=np.int32) for number in (prompt, chosen, rejected)]
    return TokenRow(index, f"f:{index}", ids[0], {"chosen": ids[1], "rejected": ids[2]})


ROWS = [row(0, 4, 6, 3), row(1, 2, 1, 5), row(2, 7, 4, 4)]


def test_quantiles_are_lengths_that_occur():
    found = Lengths.of(range(1, 101))
    assert (found.mean, found.p50, found.p90, found.p99, found.max) == (50.5, 50, 90, 99, 100)
    assert found.bins == ((13, 13), (25, 12), (38, 13), (50, 12), (63, 13), (75, 12), (88, 13), (100, 12))


def test_few_lengths_have_few_bins():
    assert Lengths.of([1, 2, 2]).bins == ((1, 1), (2, 2))


def test_each_part_of_a_row_has_its_lengths():
    found = lengths_of(ROWS)
    assert {name: one.max for name, one in found.items()} == {"prompt": 7, "chosen": 6, "rejected": 5, "total": 11}


def test_the_shape_of_a_batch_is_that_of_its_layout():
    assert Laid("shared").shape(ROWS) == (3, 15)  # 7 + 4 + 4
    assert Laid("separate").shape(ROWS) == (6, 11)
    assert Laid("packed").shape([*ROWS, ROWS[0]]) == (1, 13 + 23 + 9)  # the same prompt once
    # An anchor ends where the row's longest response does: 6, 5 and 4 tokens, of at most 5; 4 + 6 + 3 + 5 = 18.
    assert Laid("shared", 5).shape(ROWS) == (3, 19)
    assert Laid("shared", 5, ends=False).shape(ROWS) == (3, 20)
    assert Laid("shared", 5).predicted(ROWS) == 23 + 5 + 5 + 4


def test_rows_are_counted_one_after_the_other():
    several = [*ROWS, ROWS[0]]
    for layout in ("packed", "shared", "separate"):
        laid = Laid(layout, 5, ends=False)
        count = laid.meter()
        assert [count(one) for one in several] == [laid.places(several[:number]) for number in (1, 2, 3, 4)]


def test_the_largest_is_named_twice_where_another_has_more_responses():
    long, wide = [row(0, 1, 9, 9)], [row(1, 30, 1, 1)]
    assert Laid("shared").largest([long, wide]) == [wide, long]
    assert Laid("shared").largest([wide, [row(2, 2, 1, 1)]]) == [wide]


def test_micro_batches_are_the_run_s():
    """Two epochs of 2 + 1 rows, one at a time: the longer one of a step comes first."""
    config = TrainingConfig(steps=4, batch_size=2, micro_batch_size=1)
    found = micro_batches(ROWS, config, 0, Laid("shared").meter)
    assert [len(rows) for rows in found.all] == [1] * 6
    assert (len(found.first), len(found.later), found.per_step) == (4, 2, 1.5)
    first, later = found.first[0][0], found.later[0][0]
    assert first.num_tokens >= later.num_tokens
    assert {first.index, later.index, found.first[1][0].index} == {0, 1, 2}


def test_micro_batches_are_cut_by_tokens_where_the_run_cuts_so():
    """Rows of 13, 8 and 15 tokens: 15 alone, then 13 and 8, which are 26 with padding."""
    config = TrainingConfig(steps=1, batch_size=3, micro_batch_tokens=26)
    found = micro_batches(ROWS, config, 0, Laid("shared").meter)
    assert [sorted(row.index for row in rows) for rows in found.all] == [[2], [0, 1]]
