"""Token values of the rows that a run looks up: read from disk, or computed now and written there.

A file holds the values of the first so many rows of a fixed order, and is extended when a longer run needs more. What
is read is bit for bit what would be computed: batches are cut from the beginning of that order, and all that decides
their bits is in the file's name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.asks.bench import Bench
from alignkit.asks.values import TokenValues
from alignkit.data.rows import TokenRow
from alignkit.data.splitting import rows_fingerprint
from alignkit.errors import RunFolderError
from alignkit.lazy import accelerate, safetensors, safetensors_torch, torch
from alignkit.progress.display import counted
from alignkit.records.files import one_line, write_bytes
from alignkit.records.fingerprints import text_fingerprint

if TYPE_CHECKING:
    from torch import Tensor


VERSION = 2
"""Of what is computed; raise it when the same input gives other values, so that kept files are not used again."""

Flat = tuple["Tensor", list[int]]
"""[N] float32 values of rows one after the other, and how many each row has."""


class Table:
    """The values of known rows.

    Args:
        packed: key of a row -> [N] float32, the row's weighted responses one after the other.
    """

    def __init__(self, packed: Mapping[bytes, Tensor]) -> None:
        self._packed = packed

    def lookup(self, rows: Sequence[TokenRow], mask: Tensor) -> Tensor:
        """The rows' values on the True positions of `mask`, a [B, R, T] or [B, R, S] bool, and 0 off it."""
        packed_N = torch.cat([self._packed[row.key] for row in rows]).to(mask.device)
        return torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, packed_N)

    def numbers(self, rows: Sequence[TokenRow]) -> Tensor:
        """[B] float32, on the CPU: of values of which a row has one."""
        return torch.cat([self._packed[row.key] for row in rows])


def cache_folder() -> Path:
    """`$ALIGNKIT_CACHE`, else `~/.cache/alignkit`; the folder `values` below it."""
    return Path(os.environ.get("ALIGNKIT_CACHE", "~/.cache/alignkit")).expanduser() / "values"


def load_table(
    values: TokenValues,
    rows: Sequence[TokenRow],
    bench: Bench,
    needed: int | None = None,
    seen: Sequence[TokenRow] | None = None,
) -> Table:
    """The values of the first rows, on every process; rows are shared among the processes for the work.

    Args:
        values: what is computed. Where it is worth a file, runs and losses that agree on everything that decides the
            values share it; a file that is damaged is computed again.
        rows: all rows that a longer run would look up, in the order in which it would come to need them.
        bench: what it is computed with.
        needed: how many of them, from the first, will be looked up; None for all.
        seen: those of them that the run's steps see; None for all.
    """
    num_rows = _whole_batches(values, bench, len(rows) if needed is None else needed, len(rows))
    path = _file(values, rows, bench) if values.lasting and not bench.is_dry else None
    is_main = bench.accelerator.is_main_process
    found = [_read(path, len(rows), bench) if path is not None and is_main else None]
    accelerate.utils.broadcast_object_list(found)
    flat_N, lengths = found[0] or (torch.zeros(0), [])
    if len(lengths) < num_rows:
        more_N, more_lengths = _computed(values, rows[len(lengths) : num_rows], bench)
        flat_N, lengths = torch.cat([flat_N, more_N]), lengths + more_lengths
        if path is not None and is_main:
            _write(path, flat_N, lengths, bench)
    pieces = torch.split(flat_N, lengths)
    # A row that comes several times has the values of its first time, however many follow.
    packed = {row.key: piece for row, piece in reversed(list(zip(rows, pieces, strict=False)))}
    return Table(values.looked_up(packed, rows if seen is None else seen))


def _whole_batches(values: TokenValues, bench: Bench, needed: int, num_rows: int) -> int:
    """`needed`, rounded up: in a part of a batch a row's last bits may differ from those in a whole one."""
    whole: int = values.batch_size(bench) * bench.accelerator.num_processes
    return min(num_rows, -(-needed // whole) * whole)


def _file(values: TokenValues, rows: Sequence[TokenRow], bench: Bench) -> Path:
    """Where the values are kept: named after everything that decides them, to the last bit."""
    device = bench.accelerator.device.type
    decides = {
        "version": VERSION,
        "values": [type(values).__name__, values.model_dump(mode="json")],
        "model": bench.fingerprints["model"],
        "rows": rows_fingerprint(rows),
        "precision": str(bench.accelerator.mixed_precision),
        "layout": bench.policy.layout,
        "batch": [values.batch_size(bench), bench.accelerator.num_processes],
        "machine": [torch.version.__version__, device, torch.get_num_threads() if device == "cpu" else 1],
        **values.depends_on(bench),
    }
    return cache_folder() / f"{text_fingerprint(json.dumps(decides, sort_keys=True))}.safetensors"


def _write(path: Path, flat_N: Tensor, lengths: list[int], bench: Bench) -> None:
    """Keeps the values for other runs; this one goes on without, should that fail."""
    tensors = {"values": flat_N, "lengths": torch.tensor(lengths)}
    try:
        with one_line(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, safetensors_torch.save(tensors, {"sha256": _checksum(path, tensors)}))
    except RunFolderError as error:
        bench.note(
            f"{error}; what was computed serves this run alone; set ALIGNKIT_CACHE to a folder that can be written"
        )


def _read(path: Path, num_rows: int, bench: Bench) -> Flat | None:
    """What was kept; None when there is nothing, or nothing usable."""
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in ("values", "lengths")}
            is_whole = (file.metadata() or {}).get("sha256") == _checksum(path, tensors)
        lengths: list[int] = tensors["lengths"].tolist()
    except (OSError, ValueError, safetensors.SafetensorError):
        is_whole, lengths, tensors = False, [], {}
    if not is_whole or len(lengths) > num_rows or sum(lengths) != len(tensors["values"]):
        bench.note(f"{path}: damaged; its values are computed again")
        return None
    return tensors["values"], lengths


def _checksum(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the file's name, so that no other file passes for it, and of the tensors' bytes; hex."""
    digest = hashlib.sha256(path.name.encode())
    for name in ("lengths", "values"):
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _computed(values: TokenValues, rows: Sequence[TokenRow], bench: Bench) -> Flat:
    first, stride = bench.accelerator.process_index, bench.accelerator.num_processes
    mine: list[Tensor] = []
    part = rows[first::stride]
    with counted(values.words, len(part)) as advance:
        for value_N in values.compute(part, bench):
            mine.append(value_N.float().cpu())
            advance(1)
    by_process = [mine] if stride == 1 else accelerate.utils.gather_object([mine])
    in_order = [by_process[place % stride][place // stride] for place in range(len(rows))]
    return torch.cat(in_order), [len(value_N) for value_N in in_order]
