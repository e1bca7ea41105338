"""Which characters of a response its tokens stand for, and numbers that are read from the text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from alignkit.data.fields import Unusable
from alignkit.errors import DataError, printable
from alignkit.lazy import numpy

if TYPE_CHECKING:
    import numpy as np

PerText = Callable[[str, "np.ndarray"], "np.ndarray"]
"""From a response's text and its tokens' [N, 2] first and next character to [N] numbers, one per token."""


def offsets_of(
    found: Sequence[tuple[int, int]], length: int, full: str, text: str, room: tuple[int, int], name: str
) -> np.ndarray:
    """[N, 2] first and next character of each token, counted in the response's own text; the two are equal for a token
    that holds none of it, such as the end token.

    Args:
        found: of the tokens in `full`; further tokens hold no text.
        length: tokens of the response.
        full: prompt and response as the tokenizer saw them.
        text: the response as the data has it; a template may have put white space around it, or taken it away.
        room: the characters of `full` among which it stands.
        name: of the response, for messages.

    Raises:
        Unusable: the text stands otherwise in `full`.
    """
    bare = text.strip()
    place = full.rfind(bare, *room)
    if place < 0:
        detail = f"'{name}': the template changes the white space inside, so its characters have no tokens of their own"
        raise Unusable("template moves characters", detail)
    begin = place - (len(text) - len(text.lstrip()))
    offsets_N2 = numpy.full((length, 2), len(text), dtype=numpy.int64)
    offsets_N2[: len(found)] = numpy.array(found, dtype=numpy.int64).reshape(-1, 2) - begin
    return offsets_N2.clip(0, len(text))


def overlaps(offsets_N2: np.ndarray, spans: Iterable[tuple[int, int]]) -> np.ndarray:
    """[N] bool; True on the tokens that hold a character of a span, (first, next) in the response's text."""
    mask_N = numpy.zeros(len(offsets_N2), dtype=bool)
    for first, last in spans:
        mask_N |= (offsets_N2[:, 0] < last) & (offsets_N2[:, 1] > first) & (first < last)
    return mask_N


def read_texts(
    readers: Mapping[str, PerText], texts: Mapping[str, str], offsets: Mapping[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Key of a reader -> response name -> [N] float32 numbers.

    Raises:
        DataError: a reader gives something else; says of which.
    """
    return {
        key: {name: _checked(key, read(texts[name], offsets_N2), offsets_N2) for name, offsets_N2 in offsets.items()}
        for key, read in readers.items()
    }


def _checked(key: str, numbers: np.ndarray, offsets_N2: np.ndarray) -> np.ndarray:
    found = numpy.asarray(numbers, dtype=numpy.float32)
    if found.shape != (len(offsets_N2),):
        raise DataError(f"{printable(key)}: gives shape {list(found.shape)} for {len(offsets_N2)} tokens; expected [N]")
    if not numpy.isfinite(found).all():
        raise DataError(f"{printable(key)}: gives a number that is not finite")
    return found
