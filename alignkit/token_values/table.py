"""Token values of all rows of a run: read from disk, or computed now and written there."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.data.splitting import rows_fingerprint
from alignkit.errors import RunFolderError
from alignkit.files import one_line, write_bytes
from alignkit.fingerprints import text_fingerprint
from alignkit.lazy import accelerate, safetensors, safetensors_torch, torch
from alignkit.token_values.base import TokenValues

if TYPE_CHECKING:
    from torch import Tensor

    from alignkit.token_values.bench import Bench


VERSION = 1
"""Of what is computed; raise it when the same input gives other values, so that kept files are not used again."""


class Table:
    """The values of known rows.

    Args:
        packed: key of a row -> [N] float32, the row's weighted responses one after the other.
    """

    def __init__(self, packed: Mapping[Hashable, Tensor]) -> None:
        self._packed = packed

    def lookup(self, rows: Sequence[TokenRow], mask: Tensor) -> Tensor:
        """The rows' values on the True positions of `mask`, a [B, R, T] or [B, R, S] bool, and 0 off it."""
        packed_N = torch.cat([self._packed[row.key] for row in rows]).to(mask.device)
        return torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, packed_N)


def cache_folder() -> Path:
    """`$ALIGNKIT_CACHE`, else `~/.cache/alignkit`; the folder `values` below it."""
    return Path(os.environ.get("ALIGNKIT_CACHE", "~/.cache/alignkit")).expanduser() / "values"


def load_table(values: TokenValues, rows: Sequence[TokenRow], bench: Bench) -> Table:
    """The values of `rows`, on every process; rows are shared among the processes for the work.

    Args:
        values: what is computed. Where it is worth a file, runs, losses and seeds that agree on everything that decides
            the values share it; a file that cannot be read is computed again.
        rows: all that will be looked up.
        bench: what it is computed with.
    """
    path = _file(values, rows, bench) if values.lasting else None
    is_main = bench.accelerator.is_main_process
    kept = [_read(path, len(rows)) if path is not None and is_main else None]
    accelerate.utils.broadcast_object_list(kept)
    flat_N, lengths = kept[0] or _computed(values, rows, bench)
    if path is not None and is_main and kept[0] is None:
        _write(path, flat_N, lengths, bench)
    pieces = torch.split(flat_N, lengths)
    return Table({row.key: piece for row, piece in zip(rows, pieces, strict=True)})


def _file(values: TokenValues, rows: Sequence[TokenRow], bench: Bench) -> Path:
    """Where the values are kept: named after everything that decides them."""
    decides = {
        "version": VERSION,
        "values": [type(values).__name__, values.model_dump(mode="json")],
        "model": bench.fingerprints["model"],
        "rows": rows_fingerprint(rows),
        "precision": str(bench.accelerator.mixed_precision),
        "layout": bench.policy.layout,  # equal but for rounding, which would then hang on who came first
        **values.depends_on(bench),
    }
    return cache_folder() / f"{text_fingerprint(json.dumps(decides, sort_keys=True))}.safetensors"


def _write(path: Path, flat_N: Tensor, lengths: list[int], bench: Bench) -> None:
    """Keeps the values for other runs; this one goes on without, should that fail."""
    try:
        with one_line(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, safetensors_torch.save({"values": flat_N, "lengths": torch.tensor(lengths)}))
    except RunFolderError as error:
        bench.side.note(
            f"{error}; what was computed serves this run alone; set ALIGNKIT_CACHE to a folder that can be written"
        )


def _read(path: Path, num_rows: int) -> tuple[Tensor, list[int]] | None:
    """What was kept; None when there is nothing, or nothing usable."""
    try:
        kept = safetensors_torch.load_file(path)
        flat_N, lengths = kept["values"], kept["lengths"].tolist()
    except (OSError, ValueError, KeyError, safetensors.SafetensorError):
        return None
    return (flat_N, lengths) if len(lengths) == num_rows and sum(lengths) == len(flat_N) else None


def _computed(values: TokenValues, rows: Sequence[TokenRow], bench: Bench) -> tuple[Tensor, list[int]]:
    first, stride = bench.accelerator.process_index, bench.accelerator.num_processes
    mine = [value_N.float().cpu() for value_N in values.compute(rows[first::stride], bench)]
    by_process = [mine] if stride == 1 else accelerate.utils.gather_object([mine])
    in_order = [by_process[place % stride][place // stride] for place in range(len(rows))]
    return torch.cat(in_order), [len(value_N) for value_N in in_order]
