"""The page of `alignkit compare` in a browser: it asks for nothing, and draws the interval where its numbers are."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignkit.compare.html import html
from alignkit.compare.record import Compared, Comparison, Line

pytestmark = pytest.mark.browser

LINE = Line(
    **{"base": "a", "other": "<b>", "measure": "kl", "label": "KL", "item_set": "sampled responses", "better": None},
    **{"is_share": False, "digits": 3, "items": 64, "clusters": 64, "base_value": 1.0, "other_value": 1.2},
    **{"difference": 0.2, "se": 0.1, "low": 0.0, "high": 0.4, "df": 63.0, "over": "items", "test": "t", "p": 0.05},
    **{"p_holm": 0.05, "p_mcnemar": None, "only_base": None, "only_other": None, "smallest_visible": 0.28},
    sentence="no difference seen",
)


def test_page(opened, tmp_path: Path):
    methods = [Compared(name=name, folders=[f"runs/{name}"], seeds=[0]) for name in ("a", "<b>")]
    found = Comparison(
        moment="after",
        level=0.95,
        power=0.8,
        family=1,
        methods=methods,
        lines=[LINE],
        notes=["<script>alert(1)</script>"],
    )
    path = tmp_path / "page.html"
    path.write_text(html(found), encoding="utf-8")
    page = opened(path, viewport={"width": 1200, "height": 800})
    assert page.locator("h1").inner_text() == "<b> against a"
    assert page.locator("li").last.inner_text() == "<script>alert(1)</script>"
    zero, bar, dot = (page.locator(f"svg > *:nth-child({n})").bounding_box() for n in (1, 2, 3))
    middle = zero["x"] + zero["width"] / 2
    assert bar["x"] + bar["width"] == pytest.approx(middle + 2 * (dot["x"] + dot["width"] / 2 - middle), abs=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1200
