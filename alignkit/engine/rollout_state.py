"""Sampled rows, and what is logged of them, as tensors of a checkpoint, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from alignkit.data.rows import TokenRow
from alignkit.lazy import numpy as np
from alignkit.lazy import torch
from alignkit.loop.step import StepRows

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor


def save_rows(drawn: StepRows) -> dict[str, Tensor]:
    """Rows of sampled responses: token ids, numbers per token, and what else there is as JSON in bytes."""
    rows = drawn.rows
    if not rows:
        return {}
    heads = [
        {
            "index": row.index,
            "where": row.where,
            "label": row.label,
            "text": dict(row.text),
            "prompt": len(row.prompt),
            "responses": {name: len(ids) for name, ids in row.responses.items()},
            "columns": {key: list(named) for key, named in row.token_columns.items()},
        }
        for row in rows
    ]
    ids = [part for row in rows for part in (row.prompt, *row.responses.values())]
    numbers = [value_T for row in rows for named in row.token_columns.values() for value_T in named.values()]
    return {
        "rollouts.heads": _as_bytes(heads),
        "rollouts.metrics": _as_bytes(dict(drawn.metrics)),
        "rollouts.ids": torch.from_numpy(np.concatenate(ids).astype(np.int32)),
        "rollouts.numbers": torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *numbers]).astype(np.float32)),
    }


def load_rows(state: Mapping[str, Tensor]) -> StepRows:
    """What `save_rows` was given."""
    if "rollouts.heads" not in state:
        return StepRows([])
    heads, metrics = (json.loads(bytes(state[f"rollouts.{name}"].tolist())) for name in ("heads", "metrics"))
    ids, numbers = (_Reader(state[f"rollouts.{name}"].numpy()) for name in ("ids", "numbers"))
    return StepRows([_row(head, ids, numbers) for head in heads], metrics)


def _as_bytes(value: object) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _row(head: Mapping[str, Any], ids: _Reader, numbers: _Reader) -> TokenRow:
    lengths: dict[str, int] = head["responses"]
    return TokenRow(
        index=head["index"],
        where=head["where"],
        prompt=ids.take(head["prompt"]),
        responses={name: ids.take(length) for name, length in lengths.items()},
        text=head["text"],
        label=head["label"],
        token_columns={
            key: {name: numbers.take(lengths[name]) for name in names} for key, names in head["columns"].items()
        },
    )


class _Reader:
    """Takes pieces of an array, one after the other."""

    def __init__(self, array: ndarray) -> None:
        self._array = array
        self._place = 0

    def take(self, length: int) -> ndarray:
        """The next `length` values."""
        self._place += length
        return self._array[self._place - length : self._place].copy()
