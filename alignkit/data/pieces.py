"""The text of tokens, each as it stands in its response, and not as it would decode alone.

Tokens of bytes may hold a part of a character; alone they decode to replacement characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BROKEN: Final = "\ufffd"
"""What an unfinished character decodes to."""

MOST_PARTS: Final = 8
"""Tokens that are awaited to finish a character; more than any character has bytes, so what follows is no character."""


def pieces_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], before: Sequence[int] = ()) -> list[str]:
    """The characters of each token of a response; joined they are its text, special tokens written out.

    Of tokens that make a character together the first has it and the others have none. Decoded as streaming does it,
    from the last whole character on, so the time grows with the length alone.

    Args:
        tokenizer: whose tokens they are.
        ids: the response.
        before: the prompt's tokens; some decoders treat the first token of a text otherwise than the same one inside.
    """
    known = [*before[-MOST_PARTS:], *ids]
    start, read = 0, len(known) - len(ids)
    pieces: list[str] = []
    context = _decoded(tokenizer, known[start:read])
    for end in range(read + 1, len(known) + 1):
        longer = _decoded(tokenizer, known[start:end])
        is_whole = not longer.endswith(BROKEN)
        if not is_whole and end - read < MOST_PARTS and end < len(known):
            continue
        pieces += [longer[len(context) :], *[""] * (end - read - 1)]
        start, read = read, end
        context = _decoded(tokenizer, known[start:read])
    return pieces


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
