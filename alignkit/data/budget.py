"""How much is read of a data file, and of what kind of file: nothing endless, nothing that waits."""

from __future__ import annotations

import gzip
import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.errors import DataError

if TYPE_CHECKING:
    from typing import BinaryIO

    from _typeshed import WriteableBuffer

MOST_BYTES = 8 * 2**30
"""Bytes of one file that is read row by row, after decompression. Rows are held in memory."""

MOST_BYTES_WHOLE = 2**30
"""Bytes of one file that is parsed as a whole (.json), which takes several times its size."""

MOST_BYTES_LINE = 64 * 2**20
"""Bytes of one line of a .jsonl file, and characters of one value of a .csv file."""

MOST_CHARACTERS = 2_000_000
"""Characters of one prompt or response, some 500,000 tokens. A tokenizer takes seconds for more in one word."""

MOST_CHARACTERS_WORD = 10_000
"""Characters of one word that a tokenizer is trained on: for 100,000 it takes up to 20 s, and learns nothing of use."""

_CHUNK = 2**20


def refuse_irregular(path: Path) -> None:
    """Stops at what is there but is no file: it may have no end, or wait for ever.

    Raises:
        DataError: it is a folder, FIFO, socket or device.
        OSError: it is not there.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        raise DataError(f"{path}: is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a file")


@contextmanager
def open_within(path: Path, most: int) -> Iterator[io.BufferedReader]:
    """The bytes of a file, decompressed if it ends in .gz, up to a budget.

    Raises:
        DataError: more is read than `most`.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield io.BufferedReader(_Within(file, path, most), _CHUNK)


class _Within(io.RawIOBase):
    """Counts what is read of a file."""

    def __init__(self, file: BinaryIO | gzip.GzipFile, path: Path, most: int) -> None:
        self._file = file
        self._path = path
        self._most = most
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        data = self._file.read(len(view))
        self._read += len(data)
        if self._read > self._most:
            unpacked = " after decompression" if self._path.suffix == ".gz" else ""
            raise DataError(
                f"{self._path}: holds more than {self._most:,} bytes{unpacked}, the most that is read of a file of "
                "this type; split it, or set data.max_rows (.jsonl, .csv and .parquet are read only so far)"
            )
        view[: len(data)] = data
        return len(data)
