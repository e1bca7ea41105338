"""`metrics.jsonl`: one line a step, cut back to the checkpoint on resume, so that it has no step twice."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import Field

from alignkit.errors import CheckpointError, RunFolderError
from alignkit.loop.readings import ReadMetrics
from alignkit.records.files import Record, one_line

TIMING_KEYS = frozenset({"seconds", "rollout_seconds"})
"""Keys that differ between two runs of the same recipe."""


class LogMark(Record):
    """How far a log had come when a checkpoint was made."""

    size: int = Field(ge=0)
    """Bytes."""

    sha256: str
    """Of these bytes."""


NOTHING = LogMark(size=0, sha256=hashlib.sha256().hexdigest())
"""The mark of a run that has no checkpoint yet."""


def means(parts: Iterable[ReadMetrics]) -> dict[str, float]:
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
        mark: how much of it a checkpoint vouches for; the rest is cut off. None for a new run.

    Raises:
        RunFolderError: a new run finds the file of an older one, or the file cannot be written.
        CheckpointError: the file is not what it was when the checkpoint was made.
    """

    def __init__(self, path: Path, mark: LogMark | None) -> None:
        if mark is None and path.exists():
            raise RunFolderError(f"{path}: already there; resume its run, or give the new run another folder")
        self._path = path
        self._digest = hashlib.sha256()
        with one_line(path):
            if mark is not None:
                self._cut(mark)
            self._file = path.open("ab")

    def _cut(self, mark: LogMark) -> None:
        size = self._path.stat().st_size if self._path.exists() else 0
        if size < mark.size:
            raise CheckpointError(
                f"{self._path}: has {size} bytes, but {mark.size} when the checkpoint was made; "
                "restore the file, or start a new run"
            )
        if not size:
            return
        with self._path.open("rb") as file:
            self._digest.update(file.read(mark.size))
        if self._digest.hexdigest() != mark.sha256:
            raise CheckpointError(
                f"{self._path}: its first {mark.size} bytes have changed since they were written (sha256); "
                "restore the file, or start a new run"
            )
        os.truncate(self._path, mark.size)

    def write(self, values: Mapping[str, float]) -> None:
        """Appends one line and flushes it. JSON knows no NaN or infinity: they become null.

        Raises:
            RunFolderError: the disk is full or gone.
        """
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        content = (json.dumps(line) + "\n").encode()
        with one_line(self._path):
            self._file.write(content)
            self._file.flush()
        self._digest.update(content)

    def sync(self) -> LogMark:
        """Makes all lines durable and says how far they go.

        Raises:
            RunFolderError: the disk is full or gone.
        """
        with one_line(self._path):
            os.fsync(self._file.fileno())
            return LogMark(size=os.fstat(self._file.fileno()).st_size, sha256=self._digest.hexdigest())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            with one_line(self._path):
                self._file.close()
            return
        with suppress(OSError):  # a full disk refuses the rest once more; the error on its way says so already
            self._file.close()
