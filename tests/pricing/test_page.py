"""docs/performance.md shows what was measured: every committed result, and no other number in its tables."""

from __future__ import annotations

import json

import pytest
from pricing.page import PAGE, RESULTS, filled, named

TEXT = PAGE.read_text()
OURS = sorted(file for file in RESULTS.glob("*.json") if not file.stem.startswith("screen_"))
"""The others are what docs/studies.md shows."""


def test_tables_are_those_of_the_results():
    assert filled(TEXT) == TEXT, "python benchmarks/pricing/page.py writes them anew"


def test_every_result_is_shown():
    assert {file.stem for file in OURS} <= named(TEXT)


@pytest.mark.parametrize("file", OURS, ids=lambda file: file.stem)
def test_results_tell_no_paths(file):
    """Of the machine that they were made on."""
    found = json.loads(file.read_text())
    assert found["command"].startswith("python benchmarks/") and "--output" not in found["command"]
    assert "/home/" not in file.read_text() and "/tmp/" not in file.read_text()


def test_a_result_that_is_missing_is_said(tmp_path):
    assert filled("<!-- result: none -->\nold\n<!-- end -->", tmp_path).splitlines()[2] == "Not measured."
