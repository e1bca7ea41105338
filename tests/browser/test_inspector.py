"""The inspector's page in a real browser: linked panes, keyboard, filters, order, address, no script, hostile text."""

from __future__ import annotations

from pathlib import Path

import pytest
from inspector.inspected import HOSTILE, hostile, subject

from alignkit import page
from alignkit.inspector.audit import Lexicon
from alignkit.inspector.view import inspection_page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("inspector") / "page.html"
    page.write(path, inspection_page(subject(), Lexicon.read(None)))
    return path


def token(shown, card: int, pane: int, place: int):
    return shown.locator(".card").nth(card).locator(".t").nth(pane).locator("i").nth(place)


def names(shown) -> list[str]:
    """Keys of the cards that can be seen, in their order."""
    return shown.locator(".card:visible .key").all_inner_texts()


def test_hover_shows_the_numbers_and_the_same_token_and_place_everywhere(opened, file):
    shown = opened(file)
    token(shown, 0, 0, 2).hover()
    tip = shown.locator("#tip")
    assert "pills" in tip.inner_text() and "weight2.500" in tip.inner_text().replace(" ", "").replace("\n", "")
    assert "log-ratioafter2.000" in tip.inner_text().replace(" ", "").replace("\n", "")
    assert "on" in token(shown, 0, 0, 2).get_attribute("class").split()
    assert "same" in token(shown, 1, 0, 2).get_attribute("class").split()  # the same token in another card
    assert "at" in token(shown, 0, 1, 2).get_attribute("class").split()  # the same place in the other response
    shown.wait_for_selector("#r0 .cursor[d^=M]", state="attached")  # plots are drawn when they come into view
    shown.mouse.move(2, 2)
    assert tip.is_hidden() and shown.locator(".on").count() == 0


def test_keys_walk_through_the_tokens(opened, file):
    shown = opened(file)
    token(shown, 0, 0, 0).focus()
    for key, expected in (
        ("ArrowRight", (0, 1)),
        ("End", (0, 3)),
        ("ArrowDown", (1, 3)),
        ("ArrowLeft", (1, 2)),
        ("ArrowUp", (0, 2)),
    ):
        shown.keyboard.press(key)
        assert "on" in token(shown, 0, *expected).get_attribute("class").split(), key
    assert "weight 2.500" in shown.evaluate("document.activeElement.getAttribute('aria-label')")
    shown.keyboard.press("Enter")
    assert "pinned" in shown.locator("#tip").inner_text() and "pin=r0" in shown.url
    shown.keyboard.press("Escape")
    assert "pin" not in shown.url


def test_a_click_pins_until_the_next(opened, file):
    shown = opened(file)
    token(shown, 0, 0, 2).click()
    token(shown, 0, 1, 0).hover()
    assert "pills" in shown.locator("#tip").inner_text()
    token(shown, 0, 0, 2).click()
    token(shown, 0, 1, 0).hover()
    assert "See" in shown.locator("#tip").inner_text()


def test_the_table_and_the_plot_follow(opened, file):
    shown = opened(file)
    shown.locator("#r0").scroll_into_view_if_needed()
    shown.locator("#r0 details.numbers summary").click()
    token(shown, 0, 0, 2).hover()
    assert shown.locator("#r0 .numbers tr.on td").all_inner_texts()[:4] == ["chosen", "3", "pills", "3"]
    assert shown.locator("#r0 .numbers tr.same").count() == 1  # the other response's third token
    assert shown.locator("#r0 .numbers tbody tr").count() == 8
    assert shown.locator("#r0 .plot .line").count() >= 2


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("find", "PROMPT 1", ["r1"]),
        ("rank", "ranked wrongly", ["r1"]),
        ("rank", "turned right", ["r0", "r2"]),
        ("min", "0.6", ["r0"]),
        ("max", "0.6", ["r1", "r2"]),
        ("cut", True, ["r2"]),
        ("top", "1", ["r2"]),
        ("ess", "0.1", []),
        ("sort", "margin", ["r1", "r2", "r0"]),
        ("down", True, ["r2", "r1", "r0"]),
    ],
)
def test_filters_and_order(opened, file, key, value, expected):
    shown = opened(file)
    field = shown.locator(f"[data-key={key}]")
    if value is True:
        field.check()
    elif field.evaluate("one => one.tagName") == "SELECT":
        field.select_option(value)
    else:
        field.fill(value)
    assert names(shown) == expected
    assert shown.locator("#count").inner_text() == f"{len(expected)} of 3"
    shown.reload()
    assert names(shown) == expected  # the address kept it
    shown.locator("button").click()
    assert names(shown) == ["r0", "r1", "r2"] and "=" not in shown.url


def test_the_column_changes_the_colours(opened, file):
    """The scale ends at the 98 % quantile of 24 numbers, 1.54, between the largest two, 1 and 2."""
    shown = opened(file)
    shown.locator("[data-key=show]").select_option("change of log-prob")
    assert (
        token(shown, 1, 0, 2).get_attribute("class") == "n4 planted"
        and token(shown, 0, 0, 2).get_attribute("class") == "p6 planted"
    )
    shown.reload()
    assert shown.locator("[data-key=show]").input_value() == "change of log-prob"
    assert "hatched" in shown.locator("#legend").inner_text()


def test_without_a_script_there_are_tokens_weights_and_numbers(opened, file):
    shown = opened(file, java_script_enabled=False)
    assert token(shown, 0, 0, 2).get_attribute("class") == "w12 planted"
    assert shown.locator("#tools").is_hidden() and shown.locator("#tip").is_hidden()
    assert "heaviest: pills 2.50" in shown.locator("#r0").inner_text()
    shown.locator("#results figure summary").first.click()
    assert shown.locator("#results figure table").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(opened, file, scheme):
    shown = opened(file, color_scheme=scheme)
    colours = shown.evaluate(
        "[...document.querySelectorAll('.t i')].map(getComputedStyle).map(one => [one.color, one.backgroundColor])"
    )
    ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
    for ink, behind in colours:
        assert ratio(ink, ground if behind == "rgba(0, 0, 0, 0)" else behind) >= 4.5


def ratio(one: str, other: str) -> float:
    from alignkit.inspector.colours import contrast

    return contrast(*(tuple(int(part) for part in colour[4:-1].split(",")) for colour in (one, other)))


def test_forced_colours_keep_the_bar(opened, file):
    shown = opened(file, forced_colors="active")
    style = "getComputedStyle(document.querySelector('.t i.w12')).borderBottomWidth"
    assert shown.evaluate(style) == "6px"


def test_hostile_text_is_inert(opened, tmp_path):
    path = tmp_path / "page.html"
    page.write(path, inspection_page(subject(hostile()), Lexicon.read(None)))
    shown = opened(path)
    assert shown.locator("img").count() == 0
    token(shown, 0, 0, 0).hover()
    assert HOSTILE in shown.locator("#tip").inner_text()
    token(shown, 0, 0, 6).hover()
    assert HOSTILE in shown.locator("#tip").inner_text()
    shown.locator("#r0").scroll_into_view_if_needed()
    shown.locator("details.numbers summary").click()
    shown.locator("[data-key=find]").fill(HOSTILE)
    assert names(shown) == ["r0"]


def test_a_wrong_address_is_no_trouble(opened, file):
    shown = opened(file, "#show=nothing&pin=r9,9,9&sort=wrong&rank=odd&min=x")
    assert shown.locator("#count").is_visible()
    shown = opened(file, f"#find={HOSTILE}&source=<b>")
    assert names(shown) == []


def test_narrow_windows_do_not_scroll_sideways(opened, file):
    shown = opened(file, viewport={"width": 360, "height": 800})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360
