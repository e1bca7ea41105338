"""Text cut and wrapped for a terminal."""

from __future__ import annotations

import textwrap


def wrapped(text: str, width: int, indent: str = "") -> str:
    """The text in lines of at most `width` columns, no blank at their end; all but the first begin with `indent`."""
    lines = textwrap.wrap(text, max(20, width), subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(lines)


def cut(text: str, most: int) -> str:
    """The first `most` characters, with `...` where there were more."""
    return text if len(text) <= most else f"{text[:most].rstrip()} ..."


def cut_start(text: str, most: int) -> str:
    """The last `most` characters, with `...` where there were more: the end of a prompt is what is answered."""
    return text if len(text) <= most else f"... {text[-most:].lstrip()}"
