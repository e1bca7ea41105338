"""Rows and samples in the run folder: what was written is read back, whatever was there before."""

from __future__ import annotations

import math

import pytest

from alignkit.evaluation.evaluate import Measured
from alignkit.evaluation.records import ROWS, SAMPLES, read_records, write_records

BEFORE = Measured(
    [{"row": 0, "margin": 0.1 + 0.2, "desirable": True}], [{"row": 0, "response": "a\nb\u2028ü", "kl": 1.5}]
)
AFTER = Measured([{"row": 0, "margin": math.nan, "desirable": False}], [{"row": 0, "response": "", "kl": 0.0}])
NOTHING = Measured([], [])


def test_what_was_written_is_read_back(tmp_path):
    write_records(tmp_path, "before", BEFORE)
    write_records(tmp_path, "after", AFTER)
    assert read_records(tmp_path, "before") == BEFORE
    found = read_records(tmp_path, "after")
    assert found.samples == AFTER.samples and math.isnan(found.rows[0]["margin"])
    assert "NaN" not in (tmp_path / ROWS).read_text()


def test_a_moment_that_is_measured_again_takes_the_place_of_what_was_there(tmp_path):
    write_records(tmp_path, "before", BEFORE)
    for _ in range(2):
        write_records(tmp_path, "after", AFTER)
    assert (tmp_path / SAMPLES).read_text(encoding="utf-8").count("\n") == 2
    assert len(read_records(tmp_path, "after").samples) == 1
    write_records(tmp_path, "before", BEFORE)
    assert read_records(tmp_path, "after") == NOTHING


@pytest.mark.parametrize("damage", ["", "{", '{"row": 1}\n', "[]\n", '{"moment": "before"}\n', "\udcff"])
def test_what_cannot_be_read_was_not_measured(tmp_path, damage):
    write_records(tmp_path, "before", BEFORE)
    (tmp_path / ROWS).write_bytes(damage.encode("utf-8", "surrogateescape"))
    assert read_records(tmp_path, "before") == Measured([], BEFORE.samples)
    write_records(tmp_path, "after", AFTER)
    assert len(read_records(tmp_path, "after").rows) == 1


def test_nothing_measured_leaves_no_file(tmp_path):
    write_records(tmp_path, "before", NOTHING)
    assert list(tmp_path.iterdir()) == [] and read_records(tmp_path, "before") == NOTHING
