"""Text from models and data on its way to a terminal: nothing in it may be obeyed, hidden or endless."""

from __future__ import annotations

import textwrap


def visible(text: str, *, keep: str = "") -> str:
    """The text with what a terminal would obey or hide (escapes, newlines, direction marks) written out.

    Args:
        text: any text.
        keep: characters to leave as they are, such as a newline.
    """
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


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
