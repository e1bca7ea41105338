"""`metrics.jsonl`: one line a step, cut back to the checkpoint on resume, so that it has no step twice."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from alignkit.errors import CheckpointError, RunFolderError
from alignkit.trainers.step import Metrics

TIMING_KEYS = frozenset({"seconds"})
"""Keys that differ between two runs of the same recipe."""


def means(parts: Iterable[Metrics]) -> dict[str, float]:
    """sum / count of each metric over micro-batches and processes; one that nobody counted is left out."""
    totals: dict[str, tuple[float, float]] = {}
    for part in parts:
        for name, (value, count) in part.items():
            so_far = totals.get(name, (0.0, 0.0))
            totals[name] = (so_far[0] + value, so_far[1] + count)
    return {name: value / count for name, (value, count) in totals.items() if count}


class MetricsLog:
    """Appends lines to a JSONL file.

    Args:
        path: the file.
        keep_bytes: how much of it a checkpoint vouches for; the rest is cut off. None for a new run.

    Raises:
        RunFolderError: a new run finds the file of an older one.
        CheckpointError: the file is shorter than it was when the checkpoint was made.
    """

    def __init__(self, path: Path, keep_bytes: int | None) -> None:
        if keep_bytes is None and path.exists():
            raise RunFolderError(f"{path}: already there; resume its run, or give the new run another folder")
        size = path.stat().st_size if path.exists() else 0
        if keep_bytes is not None:
            if size < keep_bytes:
                raise CheckpointError(
                    f"{path}: has {size} bytes, but {keep_bytes} when the checkpoint was made; "
                    "restore the file, or start a new run"
                )
            if path.exists():
                os.truncate(path, keep_bytes)
        self._file = path.open("a", encoding="utf-8")

    def write(self, values: Mapping[str, float]) -> None:
        """Appends one line and flushes it. JSON knows no NaN or infinity: they become null."""
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def sync(self) -> int:
        """Makes all lines durable; returns the size of the file in bytes."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
