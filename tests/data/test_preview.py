"""The row that a dry run shows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from alignkit.data.preview import preview
from alignkit.data.rows import TokenRow

CHARACTERS = SimpleNamespace(decode=lambda ids, skip_special_tokens: "".join(map(chr, ids)))


def ids(text: str) -> np.ndarray:
    return np.array([ord(char) for char in text], dtype=np.int64)


def test_the_boundary_is_marked_and_lengths_are_given():
    row = TokenRow(0, "a.jsonl:1", ids("Hi"), {"chosen": ids("yes."), "rejected": ids("no.")})
    assert (
        preview(row, CHARACTERS).plain
        == "a.jsonl:1\nprompt (2 tokens): Hi\nchosen (4 tokens): |yes.\nrejected (3 tokens): |no."
    )


def test_nothing_in_a_row_commands_the_terminal():
    """Newlines stay, as the model sees them."""
    row = TokenRow(0, "a\x1b.jsonl:1", ids("\x1b[2J\n\u202e"), {"chosen": ids("\x9b\r.")})
    shown = preview(row, CHARACTERS).plain
    assert shown == "a\\x1b.jsonl:1\nprompt (6 tokens): \\x1b[2J\n\\u202e\nchosen (3 tokens): |\\x9b\\r."
