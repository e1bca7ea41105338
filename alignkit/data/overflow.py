"""What happens to rows that are longer than `max_length`: stop, drop, or cut; both responses keep one prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from alignkit.data.config import DataConfig
from alignkit.data.fields import Unusable
from alignkit.data.rows import TokenRow
from alignkit.errors import DataError
from alignkit.lazy import numpy

if TYPE_CHECKING:
    import numpy as np

_SHOWN = 5


def refuse_long(rows: Sequence[TokenRow], config: DataConfig, name: str) -> None:
    """Stops when rows are too long and nothing else was asked for.

    Raises:
        DataError: how many there are, the longest, and the first five places.
    """
    long = [row for row in rows if row.length > config.max_length]
    if config.on_overflow == "error" and long:
        places = ", ".join(f"{row.where} ({row.length})" for row in long[:_SHOWN])
        rest = f" and {len(long) - _SHOWN} more" if len(long) > _SHOWN else ""
        cuts = "drop, truncate_prompt or truncate_response" if long[0].responses else "drop or truncate_prompt"
        raise DataError(
            f"{name}: {len(long)} of {len(rows)} rows are longer than data.max_length: {config.max_length} tokens, the "
            f"longest {max(row.length for row in long)}: {places}{rest}; raise it, or set data.on_overflow to {cuts}"
        )


def fit(row: TokenRow, config: DataConfig, num_leading: int, counts: Counter[str]) -> TokenRow:
    """The row with at most `max_length` tokens.

    Args:
        row: any row.
        config: `max_length` and `on_overflow` are read from it.
        num_leading: tokens at the prompt's start that stay (BOS).
        counts: gets `truncated_prompt`, rows, and `truncated_response`, responses.

    Raises:
        Unusable: rows that are too long are dropped; or what may be cut is too short to make this one fit, or the cut
            makes the two responses equal.
    """
    if row.length <= config.max_length:
        return row
    if config.on_overflow == "drop":
        raise Unusable("too long", f"{row.length} tokens; data.max_length: {config.max_length}")
    if config.on_overflow == "truncate_prompt":
        fitted = _cut_prompt(row, config.max_length, num_leading)
        counts["truncated_prompt"] += 1
        return fitted
    assert config.on_overflow == "truncate_response", "rows too long were refused before"
    fitted = _cut_responses(row, config.max_length)
    counts["truncated_response"] += sum(
        len(fitted.responses[name]) < len(row.responses[name]) for name in row.responses
    )
    return fitted


def _cut_prompt(row: TokenRow, max_length: int, num_leading: int) -> TokenRow:
    """Cuts the prompt's start; BOS and at least one more token stay."""
    longest = row.length - len(row.prompt)
    num_last = max_length - longest - num_leading
    if num_last < 1:
        detail = f"the longest response has {longest} tokens and leaves no prompt within data.max_length: {max_length}"
        raise Unusable("response too long", detail)
    return replace(row, prompt=numpy.concatenate([row.prompt[:num_leading], row.prompt[-num_last:]]))


def _cut_responses(row: TokenRow, max_length: int) -> TokenRow:
    """Cuts the responses' ends; the end token goes with them, so the model is not taught to stop there."""
    room = max_length - len(row.prompt)
    if room < 1:
        detail = f"it has {len(row.prompt)} tokens and leaves no response within data.max_length: {max_length}"
        raise Unusable("prompt too long", detail)
    responses = _cut(row.responses, room)
    if "rejected" in responses and numpy.array_equal(responses["chosen"], responses["rejected"]):
        raise Unusable("chosen equals rejected", f"they differ only beyond data.max_length: {max_length}")
    token_columns = {suffix: _cut(numbers, room) for suffix, numbers in row.token_columns.items()}
    return replace(row, responses=responses, critical=_cut(row.critical, room), token_columns=token_columns)


def _cut(arrays: Mapping[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    return {name: array[:length] for name, array in arrays.items()}
