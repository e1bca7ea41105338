"""The shell around a page: one file that loads nothing and runs one script, its own."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Final

from alignkit.errors import RunFolderError
from alignkit.page.elements import Element, clean, element, markup
from alignkit.records.files import write_text

STYLES = ("page.css", "chart.css")
"""Of all pages."""

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


def document(
    title: str,
    body: Sequence[Element],
    *,
    data: Mapping[str, object] = _NOTHING,
    script: str = "",
    style: str = "",
) -> str:
    """A whole page.

    Its content security policy forbids whatever is not in the file: no request, no frame, no form, and no script but
    the one given here, which is known by its hash.

    Args:
        title: of the window.
        body: what the page shows.
        data: numbers and text for the script, which finds them as JSON in the element with id `data`.
        script: JavaScript, run when the page is there.
        style: CSS, after that of all pages.
    """
    css = "".join(files(__package__).joinpath(name).read_text(encoding="utf-8") for name in STYLES) + style
    assert "</" not in css and "</script" not in script.lower() and "<!--" not in script, "it would end too early"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", **{"http-equiv": "Content-Security-Policy", "content": _policy(script)}),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", css),
    )
    scripts = [element("script", _json(data), type="application/json", id="data")] if data else []
    scripts += [element("script", script)] if script else []
    return "<!doctype html>\n" + markup(
        element("html", head, element("body", element("main", *body), *scripts), lang="en")
    )


def require_place(path: Path) -> None:
    """Insists that a page can stand there; for what asks much before it writes.

    Raises:
        RunFolderError: it names a folder or a device, or its folder is not there.
    """
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise RunFolderError(f"{path}: is no file; name the file that the page goes to, such as page.html")
    if not path.parent.is_dir():
        raise RunFolderError(f"{path}: there is no folder {path.parent}; make it, or name another file")


def write(path: Path, text: str) -> None:
    """Writes a page, whole or not at all.

    Raises:
        RunFolderError: there can be no such file.
        StorageError: the machine fails.
    """
    require_place(path)
    write_text(path, text)


def _policy(script: str) -> str:
    allowed = f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" if script else "'none'"
    rules = ("default-src 'none'", f"script-src {allowed}", "style-src 'unsafe-inline'")
    return "; ".join((*rules, "base-uri 'none'", "form-action 'none'"))


def _json(data: Mapping[str, object]) -> str:
    """JSON that holds no `<`, so that no text in it ends its element or opens a comment."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return clean(text.replace("<", "\\u003c"))
