"""A folder that one process at a time may write to."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import filelock

from alignkit.errors import RunFolderError, StorageError
from alignkit.records.files import one_line

LOCK = ".lock"
HOLDER = ".holder"
"""Who has the lock; a file of its own, because on Windows nobody else can read a locked one."""


def locked(path: Path) -> filelock.BaseFileLock:
    """The lock, held. The system drops it when its holder dies, however that happens; forked children have no part."""
    lock = filelock.FileLock(path / LOCK)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise RunFolderError(f"{path}: in use by {holder(path)}; wait for it or choose another --output") from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"{path}: cannot be locked: {reason}; choose another --output") from None
    try:
        with one_line(path):
            text = f"process {os.getpid()} on host '{socket.gethostname()}'"
            (path / HOLDER).write_text(text, encoding="utf-8")
    except RunFolderError:
        lock.release()
        raise
    return lock


def is_bare(path: Path) -> bool:
    """Whether the folder holds nothing but its lock."""
    return all(entry.name in (LOCK, HOLDER) for entry in path.iterdir())


def holder(path: Path) -> str:
    """Who has a folder's lock, as far as it has said so yet; who had it last, if nobody has."""
    try:
        return (path / HOLDER).read_text(encoding="utf-8")[:200] or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"
