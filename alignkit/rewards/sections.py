"""Responses that consist of tagged sections, such as `<think>..</think><answer>..</answer>`."""

from __future__ import annotations

from collections.abc import Sequence

TAG = r"^[A-Za-z][A-Za-z0-9_-]{0,39}$"
"""What may stand between `<` and `>`."""


def sections(prompt: str, response: str, tags: Sequence[str], *, rest: bool = False) -> list[str] | None:
    """The sections' texts; None where the response is not made of these sections, in this order, each tag once.

    A prompt that ends with the first opening tag has begun the response.

    Args:
        prompt: what stands before the response.
        response: all of it, with nothing but white space between and around the sections.
        tags: names of the sections.
        rest: whether anything may follow the last section.
    """
    opening = f"<{tags[0]}>"
    text = opening + response if prompt.rstrip().endswith(opening) else response
    found = []
    for tag in tags:
        first, last = f"<{tag}>", f"</{tag}>"
        if text.count(first) != 1 or text.count(last) != 1:
            return None
        before, _, after = text.partition(first)
        inside, closing, text = after.partition(last)
        if before.strip() or not closing:
            return None
        found.append(inside)
    return found if rest or not text.strip() else None
