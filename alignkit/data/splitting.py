"""Which rows are held out, whose labels are swapped, and the fingerprint of what is left."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from alignkit.data.config import DEFAULT_HOLDOUT, DataConfig
from alignkit.data.rows import TokenRow
from alignkit.errors import DataError
from alignkit.records.fingerprints import DIGEST_BYTES
from alignkit.seeds import derive

ValueT = TypeVar("ValueT")


def choose_held_out(prompts: Mapping[int, str], config: DataConfig, seed: int) -> frozenset[int]:
    """Numbers of the rows held out of training: whole prompts, in an order that only the seed and their text decide.

    So a row's side does not depend on the order of the file, and a supervised and a preference run with the same seed
    hold out the same prompts as long as they use the same rows. At most `data.holdout` rows: a prompt with more rows
    than are still wanted is passed over.

    Args:
        prompts: row number -> what is equal for equal prompts.
        config: `holdout` is read from it.
        seed: of the run.

    Raises:
        DataError: nothing would be left to train on, or nothing can be held out.
    """
    wanted = DEFAULT_HOLDOUT if config.holdout is None else config.holdout
    default = " (the default)" if config.holdout is None else ""
    if wanted >= len(prompts):
        raise DataError(
            f"data.holdout: {wanted}{default} of {len(prompts)} rows leaves none to train on; set it to less than "
            f"{len(prompts)}, or name held-out data in data.eval"
        )
    rows_of = defaultdict[str, list[int]](list)
    for number, prompt in prompts.items():
        rows_of[prompt].append(number)
    held: list[int] = []
    for prompt in sorted(rows_of, key=lambda prompt: derive(seed, f"holdout:{prompt}")):
        if len(held) + len(rows_of[prompt]) <= wanted:
            held += rows_of[prompt]
    if wanted and not held:
        fewest = min(map(len, rows_of.values()))
        raise DataError(
            f"data.holdout: {wanted}{default} holds out nothing: rows of one prompt stay together and every prompt has "
            f"at least {fewest}"
        )
    return frozenset(held)


def repeat(rows: Sequence[TokenRow], weight: float, seed: int) -> list[TokenRow]:
    """The rows as often as the weight says, one pass after the other: each as many whole times, and once more with the
    chance that is left.

    The draw belongs to the row's number, so no other option changes it, and the rows that a small weight draws are
    among those of a larger one with the same whole part.
    """
    whole, rest = int(weight), weight - int(weight)
    drawn = [row for row in rows if derive(seed, "weight", row.index) < rest * 2**63]
    return [*rows] * whole + drawn


def swap_labels(rows: Sequence[TokenRow], share: float, seed: int) -> tuple[list[TokenRow], int]:
    """Swaps chosen and rejected of each row, or flips its label, with chance `share`; says how many were swapped.

    The draw belongs to the row's number in its source, so no other option changes it, and the rows swapped at a small
    share are among those swapped at a larger one. Columns of the row stay as they are, those of tokens go along.
    """
    is_swapped = [derive(seed, "label_noise", row.index) < share * 2**63 for row in rows]
    return [swapped(row) if swap else row for row, swap in zip(rows, is_swapped, strict=True)], sum(is_swapped)


def swapped(row: TokenRow) -> TokenRow:
    """The pair with chosen and rejected exchanged, or the labelled response with the other label."""
    if row.label is not None:
        return replace(row, label=not row.label)
    return replace(
        row,
        responses=_exchange(row.responses),
        critical=_exchange(row.critical),
        text=_exchange(row.text),
        token_columns={suffix: _exchange(numbers) for suffix, numbers in row.token_columns.items()},
    )


def _exchange(values: Mapping[str, ValueT]) -> dict[str, ValueT]:
    other = {"chosen": "rejected", "rejected": "chosen"}
    return {name: values[other.get(name, name)] for name in values}


def rows_fingerprint(rows: Iterable[TokenRow]) -> str:
    """blake2b over number, tokens, label and the data columns read of every row, in order; hex."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for row in rows:
        names = ",".join(f"{name}:{len(ids)}" for name, ids in row.responses.items())
        digest.update(f"{row.index};{len(row.prompt)};{names};{sorted(row.columns.items())};".encode())
        for ids in (row.prompt, *row.responses.values()):
            digest.update(ids.astype("<i8").tobytes())
        # Only what is there, so that data without it keeps its fingerprint.
        if row.label is not None:
            digest.update(f"label:{row.label};".encode())
        for suffix, numbers in sorted(row.token_columns.items()):
            for name, values in numbers.items():
                digest.update(f"{name}{suffix};".encode())
                digest.update(values.astype("<f4").tobytes())
        if row.fields:
            digest.update(f"fields:{json.dumps(row.fields, sort_keys=True, default=str)};".encode())
    return digest.hexdigest()
