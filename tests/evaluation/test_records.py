"""Rows and samples in the run folder: what was written is read back, and nothing else."""

from __future__ import annotations

import math

import pytest

from alignkit.evaluation.config import BUILT_IN
from alignkit.evaluation.evaluate import Measured
from alignkit.evaluation.records import ROWS, SAMPLES, read_records, write_records


def row(number: int, margin: float) -> dict:
    return {"row": number, "nll": 3.0, "tokens": 2, "margin": margin}


SAMPLE = {"row": 0, "response": "a\nb\u2028ü", "kl": 1.5}
BEFORE = Measured([row(0, 0.1 + 0.2), row(1, -1.0)], [SAMPLE], BUILT_IN)
AFTER = Measured([row(0, math.nan), row(1, 2.0)], [SAMPLE | {"response": ""}], BUILT_IN)
NOTHING = Measured([], [], BUILT_IN)


def test_what_was_written_is_read_back(tmp_path):
    write_records(tmp_path, "before", BEFORE)
    write_records(tmp_path, "after", AFTER)
    assert read_records(tmp_path, "before", BEFORE.summary, BUILT_IN) == BEFORE
    found = read_records(tmp_path, "after", AFTER.summary, BUILT_IN)
    assert found.samples == AFTER.samples and math.isnan(found.rows[0]["margin"])
    assert "NaN" not in (tmp_path / ROWS).read_text()


def test_a_moment_that_is_measured_again_takes_the_place_of_what_was_there(tmp_path):
    write_records(tmp_path, "before", BEFORE)
    for _ in range(2):
        write_records(tmp_path, "after", AFTER)
    assert (tmp_path / SAMPLES).read_text(encoding="utf-8").count("\n") == 2
    write_records(tmp_path, "before", BEFORE)
    assert read_records(tmp_path, "after", AFTER.summary, BUILT_IN) == NOTHING


DAMAGES = [
    "",
    "{",
    '{"row": 1}\n',
    "[]\n",
    '{"moment": "before"}\n',
    '{"moment": "before", "row": 0, "nll": "x"}\n',
    '{"moment": "before", "row": 0, "nll": 3.0, "tokens": 2, "margin": "x"}\n',
    "\udcff",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_read_was_not_measured(tmp_path, damage):
    write_records(tmp_path, "before", BEFORE)
    (tmp_path / ROWS).write_bytes(damage.encode("utf-8", "surrogateescape"))
    assert read_records(tmp_path, "before", BEFORE.summary, BUILT_IN) == NOTHING
    write_records(tmp_path, "after", AFTER)
    assert len(read_records(tmp_path, "after", AFTER.summary, BUILT_IN).rows) == 2


def test_a_changed_digit_is_noticed(tmp_path):
    write_records(tmp_path, "before", BEFORE)
    path = tmp_path / ROWS
    path.write_text(path.read_text().replace('"margin": -1.0', '"margin": -2.0'))
    assert read_records(tmp_path, "before", BEFORE.summary, BUILT_IN) == NOTHING


def test_nothing_measured_leaves_no_file(tmp_path):
    write_records(tmp_path, "before", NOTHING)
    assert list(tmp_path.iterdir()) == [] and read_records(tmp_path, "before", {}, BUILT_IN) == NOTHING
