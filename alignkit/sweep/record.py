"""`sweep.json`: the runs of a sweep, in the folder that they are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from alignkit.errors import RunFolderError
from alignkit.records.files import Record, read_record, write_json

SWEEP = "sweep.json"
TABLE = "table.json"
RUNS = "runs"
LOGS = "logs"


class SweepRun(Record):
    """One run of a sweep."""

    name: str
    """Arm, settings and seed in one word."""

    arm: str
    """The method that it is of."""

    settings: dict[str, Any]
    """Dotted key -> value, of what differs between the runs of its arm."""

    seed: int
    """The recipe's."""

    folder: str
    """Its run folder, below the sweep's; runs of equal recipes share one."""

    state: Literal["planned", "finished", "failed"] = "planned"
    """What came of it so far; an unfinished run is planned."""

    error: str | None = None
    """Why it failed, in one line."""


class SweepRecord(Record):
    """What a sweep is and how far it has come."""

    sweep: str
    """The file, as it was named."""

    text: str
    """Its content."""

    overrides: list[str] = Field(default_factory=list)
    """`--set` texts, for all runs."""

    versions: dict[str, str]
    """Of Python and packages, of the last session."""

    report: list[str] | None = None
    """The measures that its table shows; null for all that a run's own table shows."""

    runs: list[SweepRun]
    """All of them, in the order in which they are run."""

    @property
    def arms(self) -> list[str]:
        """The arms, in their order."""
        return list(dict.fromkeys(run.arm for run in self.runs))


def read_sweep(folder: Path) -> SweepRecord:
    """What the folder of a sweep holds.

    Raises:
        RunFolderError: it is no folder of a sweep, or `sweep.json` is damaged.
    """
    if not (folder / SWEEP).is_file():
        raise RunFolderError(f"{folder}: has no {SWEEP}, so it is not the folder of a sweep; run 'alignkit sweep'")
    return read_record(folder / SWEEP, SweepRecord)


def write_sweep(folder: Path, record: SweepRecord) -> None:
    """Writes it, whole and durably."""
    write_json(folder / SWEEP, record.model_dump(mode="json"))
