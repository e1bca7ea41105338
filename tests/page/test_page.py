"""Pages: what is text stays text, nothing outside is asked for, and charts say what their numbers say."""

from __future__ import annotations

import json
import math
import os
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from alignkit import page
from alignkit.errors import RunFolderError
from alignkit.page.axes import Axis

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'\ud800\x00\u202e"


class Seen(HTMLParser):
    """Start tags with their attributes, and the text between tags of each name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_text_and_attributes_are_never_markup() -> None:
    seen = Seen(page.document(HOSTILE, [page.element("p", HOSTILE, title=HOSTILE)], data={"k": HOSTILE}))
    assert [tag for tag, _ in seen.tags if tag in ("img", "script")] == ["script"]
    expected = "</script><img src=x onerror=alert(1)>&\"'\ufffd\ufffd\u202e"
    assert dict(seen.tags)["p"] == {"title": expected}
    assert expected in seen.text
    (data,) = [text for text in seen.text if text.startswith('{"k"')]
    assert json.loads(data) == {"k": "</script><img src=x onerror=alert(1)>&\"'\ufffd\x00\u202e"}


def test_data_comes_back_as_it_went_in() -> None:
    text = page.document("t", [], data={"k": "a<b\u2028</script>\n\x07"})
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found is not None and json.loads(found[1]) == {"k": "a<b\u2028</script>\n\x07"}


def test_policy_allows_the_script_that_is_there_and_nothing_else() -> None:
    script = "document.title = 'a & b'"
    text = page.document("t", [], script=script)
    (policy,) = [attrs["content"] for _, attrs in Seen(text).tags if "http-equiv" in attrs]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'"
    )
    assert f"<script>{script}</script>" in text
    assert "script-src 'none'" in page.document("t", [])


def test_a_page_names_no_other_place() -> None:
    chart = page.lines([page.Series("a", [0, 1], [0, 1])], "x", "y")
    text = page.document("t", [chart], script="1")
    assert re.findall(r"(?:src|href)=|url\(|@import|https?:", text) == []


def test_attributes() -> None:
    made = page.element("a", "b", page.element("i"), "c", class_="k", aria_label="l", hidden=True, id=None, x=1.50)
    assert page.markup(made) == '<a class="k" aria-label="l" hidden="" x="1.5">b<i></i>c</a>'


def test_table() -> None:
    made = page.table(["n", "what"], [[12345.0, "a"], [0.123456, page.element("b", "c")]], "said")
    text = page.markup(made)
    assert "<caption>said</caption>" in text
    assert '<td class="number">12,345</td><td>a</td>' in text
    assert '<td class="number">0.1235</td><td><b>c</b></td>' in text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-3.0, 9.0, ["-4", "-2", "0", "2", "4", "6", "8", "10"]),
        (0.0, 2400.0, ["0", "500", "1,000", "1,500", "2,000", "2,500"]),
        (5.0, 5.0, ["2", "3", "4", "5", "6", "7", "8"]),
    ],
)
def test_ticks_are_round_and_hold_the_data(low: float, high: float, expected: list[str]) -> None:
    axis = Axis.over([low, math.nan, high], 0, 100, None)
    assert [text for _, text in axis.ticks()] == expected
    assert axis.low <= low and high <= axis.high


def test_places_are_linear() -> None:
    axis = Axis.over([0, 10], 100, 0, None)
    assert [axis.at(value) for value in (0, 2.5, 10)] == [100, 75, 0]
    assert [place for place, _ in axis.ticks()] == [100, 80, 60, 40, 20, 0]


def chart_of(figure: page.Element) -> ElementTree.Element:
    svg = figure.find("svg")
    assert svg is not None
    return svg


def test_lines_stop_where_a_number_is_missing_and_bands_go_there_and_back() -> None:
    series = page.Series("s", [0, 1, 2, 3], [0, 1, math.nan, 1], low=[0, 0, 0, 0], high=[1, 1, 1, 1])
    svg = chart_of(page.lines([series], "x", "y", x_limits=(0, 3), y_limits=(0, 1)))
    (line,) = [part.get("d") for part in svg if part.get("class") == "line s0"]
    (band,) = [part.get("d") for part in svg if part.get("class") == "band s0"]
    assert line == "M62 256L250 12M626 12"
    assert band is not None and band.count("L") == 7 and band.endswith("z")


def test_series_differ_in_colour_dash_and_marker_and_are_named() -> None:
    two = [page.Series(name, [0, 1], [0, 1], markers=True) for name in ("first", "second")]
    svg = chart_of(page.lines(two, "x", "y", caption="what"))
    assert svg.get("aria-label") == "what: first, second"
    drawn = [(part.get("class"), part.get("stroke-dasharray")) for part in svg if "line" in (part.get("class") or "")]
    assert drawn == [("line s0", None), ("line s1", "7 3")] * 2  # the lines, then the legend
    assert [part.text for part in svg if part.get("class") == "tick"] == ["first", "second"]


def test_each_chart_has_its_numbers() -> None:
    series = page.Series("s", [0.5], [2.0], low=[1.5], high=[2.5], names=["run 1"], markers=True)
    figure = page.lines([series], "kl", "reward")
    cells = [cell.text for cell in figure.iter() if cell.tag in ("th", "td")]
    assert cells == ["series", "point", "kl", "reward", "low", "high", "s", "run 1", "0.5", "2", "1.5", "2.5"]
    assert [part.text for part in figure.iter("title")] == ["run 1"]


def test_histogram_gives_shares_of_each_group() -> None:
    figure = page.histogram({"a": [0, 0, 0, 1], "b": [2.0]}, "weight", bins=2, x_limits=(0, 2))
    cells = [cell.text for cell in figure.iter() if cell.tag in ("th", "td")]
    assert cells == ["weight", "a, %", "b, %", "0 to 1", "75", "0", "1 to 2", "25", "100"]


def test_points_have_no_lines() -> None:
    svg = chart_of(page.lines([page.Series("s", [0, 1], [0, 1], markers=True, line=False)], "x", "y"))
    kinds = [part.get("class") for part in svg if part.get("class") not in ("grid", "axis", "label middle")]
    assert [kind for kind in kinds if kind and "tick" not in kind] == ["mark s0"]


def test_svg_file_is_a_document_of_its_own() -> None:
    text = page.svg_file(page.lines([page.Series("a&b", [0, 1], [0, 1])] * 2, "x", "y"))
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and "a&b" in "".join(root.itertext())


def test_write(tmp_path: Path) -> None:
    page.write(tmp_path / "p.html", "ä")
    assert (tmp_path / "p.html").read_bytes() == "ä".encode()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "{0}: is no file; name the file that the page goes to, such as page.html"),
        ("none/p.html", "{0}/none/p.html: there is no folder {0}/none; make it, or name another file"),
    ],
)
def test_a_page_needs_a_place(tmp_path: Path, name: str, complaint: str) -> None:
    with pytest.raises(RunFolderError, match=f"^{re.escape(complaint.format(tmp_path))}$"):
        page.write(tmp_path / name, "ä")


def test_a_device_is_not_replaced_by_a_page(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunFolderError, match="is no file"):
        page.write(tmp_path / "pipe", "ä")
    assert (tmp_path / "pipe").is_fifo()
