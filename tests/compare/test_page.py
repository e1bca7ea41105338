"""docs/compare.md names every key of `--json`, and its figures are those of the formulas."""

from __future__ import annotations

import math
import re
from pathlib import Path

from alignkit.compare.record import Comparison, Line
from alignkit.intervals import smallest_visible

PAGE = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")


def test_keys():
    rows = re.findall(r"^\| (`.*?) \|", PAGE[PAGE.index("## JSON") :], re.MULTILINE)
    named = [key for row in rows for key in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted([*Comparison.model_fields, *Line.model_fields])


def test_figures():
    seen = [100 * smallest_visible(math.sqrt(0.1 / n)) for n in (500, 1319, 164)]
    assert "4.0 points for 500 items and D = 0.1, 2.4 for 1,319, 6.9 for 164" in PAGE
    assert [f"{value:.1f}" for value in seen] == ["4.0", "2.4", "6.9"]
    assert "with many items `2.80 se`" in PAGE and f"{smallest_visible(1):.2f}" == "2.80"
