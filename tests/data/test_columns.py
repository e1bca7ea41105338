"""Numeric data columns that components need."""

from __future__ import annotations

import pytest

from alignkit.errors import DataError

PAIR = {"prompt": "Q:", "chosen": " yes", "rejected": " no"}


def test_numbers_are_read(write, load):
    tables = load(write("a.jsonl", [{**PAIR, "quality": 3, "other": "x"}]), columns=["quality"])
    assert tables.train[0].columns == {"quality": 3.0}


def test_numbers_of_a_csv(write, load):
    tables = load(write("a.csv", [{**PAIR, "quality": "2.5"}]), columns=["quality"])
    assert tables.train[0].columns == {"quality": 2.5}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (PAIR, "missing field: 'quality'"),
        ({**PAIR, "quality": None}, "null field: 'quality'"),
        ({**PAIR, "quality": True}, "not a number: 'quality': expected a finite number, got True"),
        ({**PAIR, "quality": "high"}, "not a number: 'quality': expected a finite number, got 'high'"),
        ({**PAIR, "quality": float("nan")}, "not a number: 'quality': expected a finite number, got nan"),
        ({**PAIR, "quality": [1]}, "not a number: 'quality': expected a finite number, got [1]"),
    ],
)
def test_bad_numbers_are_bad_rows(row, complaint, write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [{**PAIR, "quality": 1}, row]), columns=["quality"])
    assert str(caught.value) == (
        f"a.jsonl: 1 of 2 rows cannot be used: 1 {complaint.split(':')[0]}\n"
        f"  a.jsonl:2: {complaint}\n"
        "mend them, or leave them out with data.on_bad_row: drop"
    )


def test_a_column_in_no_row(write, load):
    with pytest.raises(DataError) as caught:
        load(write("a.jsonl", [PAIR, PAIR]), columns=["quality"])
    assert str(caught.value) == (
        "a.jsonl: no column 'quality', which the recipe's components need; columns found: chosen, prompt, rejected"
    )
