"""Debian's chromium, driven by playwright; a page may ask for nothing but its own file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for all tests."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is not there; install Debian's package: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(SWITCHES))
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a file; afterwards insists that nothing was said on the console and nothing else was asked for."""
    contexts, trouble, asked = [], [], []

    def open_file(path: Path, address: str = "", **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: trouble.append(message.text))
        shown.on("pageerror", lambda error: trouble.append(str(error)))
        shown.on("dialog", lambda dialog: trouble.append(dialog.message))
        shown.on("request", lambda request: asked.append(request.url.partition("#")[0]))
        shown.goto(path.as_uri() + address)
        return shown

    yield open_file
    for context in contexts:
        context.close()
    assert trouble == []
    assert {url.rpartition("/")[2] for url in asked} <= {"page.html"} and all(
        url.startswith("file://") for url in asked
    )
