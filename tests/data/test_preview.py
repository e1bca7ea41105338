"""What a row holds cannot move the cursor or pass for a line of ours."""

from __future__ import annotations

import numpy as np
import pytest

from alignkit.data.preview import preview
from alignkit.data.rows import TokenRow


class Letters:
    """A tokenizer whose tokens are characters."""

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return "".join(map(chr, ids))


def ids(text: str) -> np.ndarray:
    return np.array([ord(char) for char in text])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nok: all fine", "a\n    ok: all fine"),
        ("\x1b[2J\x9b1m\x07", r"\e[2J\x9b1m\x07"),
        ("\u202eabc\u2028d\r", r"\u202eabc\u2028d\r"),
        ("x" * 500, "x" * 500),
    ],
)
def test_escapes(text, said):
    row = TokenRow(0, "rows.jsonl:1", ids(text), {"chosen": ids(text)})
    shown = preview(row, Letters(), max_tokens=1000).plain  # type: ignore[arg-type]
    assert shown == (f"rows.jsonl:1\nprompt ({len(text)} tokens): {said}\nchosen ({len(text)} tokens): |{said}")
