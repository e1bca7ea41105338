"""The page as it is written: numbers come back, colours can be read, text is text, and it says what it must."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pytest
from inspector.inspected import HOSTILE, cards, hostile, subject

from alignkit.inspector.audit import Lexicon, LexiconError, find
from alignkit.inspector.cards import CHANGE, LOGP, WEIGHT, Pane
from alignkit.inspector.colours import CONTRAST, class_of, classes, contrast, ink
from alignkit.inspector.corpus import corpus_section
from alignkit.inspector.curves import MOST_POINTS, curves
from alignkit.inspector.numbers import first_shown, payload, reach
from alignkit.inspector.view import inspection_page
from alignkit.inspector.words import drawn, kind_of
from alignkit.page import markup

LEXICON = Lexicon("own", ("pills", "doctor", "two pills"))


class Seen(HTMLParser):
    """Names of all tags, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def unpacked(pane, columns) -> dict[str, np.ndarray]:
    """As the script does it."""
    steps = np.frombuffer(b64decode(pane["d"]), dtype="<i2").astype(float)
    parts = np.split(steps, len(pane["c"]))
    return {
        columns[c]["name"]: np.where(part == -32768, np.nan, part * scale)
        for c, part, scale in zip(pane["c"], parts, pane["s"], strict=True)
    }


def test_numbers_come_back():
    packed = payload(cards())
    for card, said in zip(cards(), packed["cards"], strict=True):
        for pane, short in zip(card.panes, said["panes"], strict=True):
            found = unpacked(short, packed["columns"])
            silent = {packed["columns"][c]["name"] for c in short["z"]}
            assert "log-ratio after" not in found  # the script adds it up
            for name, values in found.items():
                np.testing.assert_allclose(values, pane.columns[name], atol=np.abs(pane.columns[name]).max() / 32000)
            assert all(not pane.columns[name].any() for name in silent) and CHANGE in found.keys() | silent
            places = np.frombuffer(b64decode(short["i"]), dtype="<u2")
            assert [packed["ids"][place] for place in places] == list(pane.ids)
    json.dumps(packed, allow_nan=False)


def test_numbers_that_are_not_known_stay_so():
    (card, *_) = cards()
    pane = Pane("chosen", ["a", "b"], [1, 2], {}, {WEIGHT: np.array([np.nan, 2.0])})
    packed = payload([type(card)("r0", "w", "s", "p", [pane])])
    found = unpacked(packed["cards"][0]["panes"][0], packed["columns"])[WEIGHT]
    assert np.isnan(found[0]) and found[1] == pytest.approx(2.0, abs=1e-4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_every_colour(scheme):
    for ground, _ in classes(scheme).values():
        assert contrast(ink(ground), ground) >= CONTRAST


def test_contrast_is_that_of_the_guidelines():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)


def test_classes_grow_with_the_number():
    assert [class_of(value, 2.0, signed=False) for value in (0, 0.5, 2, 9, float("nan"))] == [
        "",
        "w3",
        "w12",
        "w12",
        "",
    ]
    assert [class_of(value, 3.0, signed=True) for value in (-3, -0.5, 0.1, 1.5)] == ["n6", "n1", "", "p3"]


def test_weights_are_shown_first_where_they_vary():
    assert first_shown(cards()) == WEIGHT and reach(cards(), WEIGHT) == 2.5
    flat = [Pane("chosen", ["a", "b"], [1, 2], {}, {WEIGHT: np.ones(2), LOGP: np.array([-1.0, -2.0])})]
    assert first_shown([type(cards()[0])("r0", "w", "s", "p", flat)]) == LOGP


def test_the_page_says_it_all():
    text = Seen(inspection_page(subject(), LEXICON)).text
    for said in (
        "It rose.",
        "Read samples.",
        "sha256 abc",
        "losses: dpo",
        "0.500 \u00b1 0.1",
        "margin +0.00 \u2192 +2.00 nats",
    ):
        assert said in text
    for said in ("ranked wrongly", "cut: chosen", "heaviest: pills 2.50, Take 0.50", "said before", "said after"):
        assert said in text


def test_without_a_script_tokens_have_their_colours():
    page = inspection_page(subject(), LEXICON)
    assert '<i class="w12 planted"> pills</i>' in page and '<i class="w2">Take</i>' in page
    assert re.search(r"\.w12\{background-color:#08519c;color:#ffffff\}", page)


def test_hostile_text_stays_text():
    page = inspection_page(subject(hostile()), Lexicon(HOSTILE, (HOSTILE.lower(),)))
    seen = Seen(page)
    assert "img" not in seen.tags and seen.tags.count("script") == 2
    assert HOSTILE in seen.text and len(page) < 60_000  # the endless token is cut
    assert "\\u202eabc\\u2066" in page and "\u202e" not in page and "\u2066" not in page
    page.encode()


def test_the_script_is_small_and_whole():
    page = inspection_page(subject(), LEXICON)
    script = page[page.rindex("<script>") :]
    assert (
        len(script.encode()) <= 25_000
        and "innerHTML" not in script
        and "http://" not in script.replace("http://www.w3.org/2000/svg", "")
    )


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("\n", "\u21b5\n"),
        ("\t", "\u21e5"),
        ("", "\u00b7"),
        (" a", " a"),
        ("\x1b", "\\e"),
        ("\u200b", "\\u200b"),
        ("é", "é"),
    ],
)
def test_what_has_no_glyph_is_drawn(token, expected):
    assert drawn(token) == expected


@pytest.mark.parametrize(
    ("tokens", "kind"),
    [
        (["x", " 3.5"], "number"),
        (["x", " +"], "operator"),
        (["x", "."], "punctuation"),
        (["x", " the"], "stop word"),
        (["see", " Paris"], "name"),
        ([".", " Paris"], "other word"),
        (["Pa", "Ris"], "other word"),
        (["x", "</s>"], "end or control token"),
        (["x", "\n"], "white space"),
        (["x", " plants"], "other word"),
    ],
)
def test_kinds_of_tokens(tokens, kind):
    assert kind_of(tokens, len(tokens) - 1) == kind


def test_corpus_by_hand():
    """Chosen: three rows of 0.5 0.5 2.5 0.5, so Q1 = median = 0.5, Q3 = 1; the heaviest token has 2.5 / 4 of the
    weight, the planted one the same, and it always leads."""
    cells = Seen(markup(corpus_section(cards())[1])).text
    assert "chosen3120.5000.5001" in cells.replace(",", "")
    assert "0.625" in cells and cells.count("pairs.jsonl") == 2


def test_terms_are_found_whole_and_with_their_tokens():
    found = [(one.card.key, one.pane.name, one.term, one.tokens.tolist()) for one in find(cards()[:1], LEXICON)]
    assert found == [("r0", "chosen", "two pills", [1, 2]), ("r0", "rejected", "doctor", [2])]
    (pills, _) = find(cards()[:1], LEXICON)
    assert pills.mean(WEIGHT) == 1.5 and pills.total(CHANGE) == 2.0
    assert not list(find(cards(), Lexicon("own", ("pill", "doc"))))


def test_a_lexicon_of_the_user(tmp_path):
    (tmp_path / "own.txt").write_text("# comment\n Two  Pills \n\ndoctor\ndoctor\n")
    assert Lexicon.read(tmp_path / "own.txt").terms == ("two pills", "doctor")
    assert "overdose" in Lexicon.read(None).terms


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory; give a text file, one term a line"),
        (b"# nothing\n", "holds no term; give one a line"),
        (b"\xff\xfe\x00", "cannot be read: it is no UTF-8 text; give a text file, one term a line"),
    ],
)
def test_a_lexicon_that_is_none(tmp_path, content, said):
    path = tmp_path / "own.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LexiconError) as caught:
        Lexicon.read(path)
    assert str(caught.value) == f"--lexicon: {path}: {said}"


def test_long_logs_are_means():
    log = [{"step": float(step), "loss": float(step % 2)} for step in range(1, 10 * MOST_POINTS + 1)]
    (chart,) = curves(log)
    rows = list(chart.iter("tr"))[1:]
    assert len(rows) == MOST_POINTS and [cell.text for cell in rows[0]] == ["loss", "5.5", "0.5"]
    assert "Loss, means of 10 steps" in markup(chart)
