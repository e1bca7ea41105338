"""The run folder: everything one run leaves behind, owned by one process at a time.

Only the main process of a run opens it; the class knows nothing of the others.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import platform
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import yaml

from alignkit.errors import RunFolderError
from alignkit.files import one_line, read_json, write_json, write_text

RECORDED = ("alignkit", "torch", "transformers", "accelerate", "peft", "datasets", "tokenizers")
"""Packages whose versions are recorded."""

SHOWN_DIFFERENCES = 5
"""Differing recipe keys that a message names before it only counts."""


class RunFolder:
    """One run's folder, locked while it is open. Made by `open`, used as a context manager.

    The training loop adds `metrics.jsonl` and `checkpoints/` to what is recorded here.

    Attributes:
        path: the folder.
        resumed: True when it holds an unfinished run that goes on.
    """

    def __init__(self, path: Path, lock: IO[str], *, resumed: bool) -> None:
        self.path = path
        self.resumed = resumed
        self._lock = lock
        self._has_begun = False

    @classmethod
    def open(cls, output: Path | None, recipe_name: str, *, resume: bool) -> Self:
        """Creates the folder, or continues the unfinished run in it, and locks it.

        Args:
            output: the folder; None makes a new one, `runs/<recipe>-<date>-<time>`, in the working directory.
            recipe_name: path of the recipe; its stem names the new folder.
            resume: continue an unfinished run; `output` must hold one.

        Raises:
            RunFolderError: it is in use, finished, unfinished without `resume`, missing with it, holds other files, or
                cannot be written.
        """
        if output is None and resume:
            raise RunFolderError("--resume: needs --output DIR, the run folder to continue")
        path = _new_default(recipe_name) if output is None else _suitable(output, resume=resume)
        lock = _locked(path)
        try:
            _check_state(path, resume=resume)
        except RunFolderError:
            lock.close()
            raise
        return cls(path, lock, resumed=resume)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def remove_if_unused(self) -> None:
        """Removes the folder when nothing was recorded in it, as after a mistake in the data; call before `close`."""
        if _is_new(self.path):
            shutil.rmtree(self.path)

    def close(self) -> None:
        """Gives up the lock. The file stays: removing it could take the lock from under the next process."""
        self._lock.close()

    @property
    def final(self) -> Path:
        """`final/`, the trained model or adapter with its tokenizer."""
        return self.path / "final"

    def begin(self, recipe: str, *, seed: int, command: Sequence[str], fingerprints: Mapping[str, str]) -> None:
        """Records recipe and start, once; from then on the run can be resumed."""
        if not self._has_begun:
            self.record_recipe(recipe)
            self.record_start(seed=seed, command=command, fingerprints=fingerprints)
        self._has_begun = True

    def record_recipe(self, text: str) -> None:
        """Writes the resolved recipe; of a resumed run, insists that it has not changed.

        Comments, such as provenance, may differ: a value may come from another file or from `--set` now.

        Args:
            text: YAML of all values.

        Raises:
            RunFolderError: a value differs from the run's beginning; the message names the keys.
        """
        path = self.path / "recipe.yaml"
        if not self.resumed:
            write_text(path, text)
            return
        differences = _differences(_recipe_values(path), yaml.safe_load(text))
        if differences:
            raise RunFolderError(
                f"{self.path}: cannot resume: the recipe differs from the one the run began with: "
                f"{_limited(differences)}; undo the change or choose another --output"
            )

    def record_start(self, *, seed: int, command: Sequence[str], fingerprints: Mapping[str, str]) -> None:
        """Writes `run.json`; of a resumed run, insists on equal fingerprints and adds an entry to `resumed`.

        Args:
            seed: the recipe's seed.
            command: the command line, one string per argument.
            fingerprints: what went in (`data`, `template`, `model`) -> hash, hex.

        Raises:
            RunFolderError: what goes in now is not what the run began with.
        """
        session = {
            "command": list(command),
            "started": _now(),
            "platform": platform.platform(),
            "versions": _versions(),
        }
        path = self.path / "run.json"
        # A run that died before it wrote its record is begun anew: nothing was trained yet.
        if not (self.resumed and path.exists()):
            write_json(path, session | {"ended": None, "seed": seed, "fingerprints": {**fingerprints}, "resumed": []})
            return
        record = read_json(path)
        differences = _differences(record["fingerprints"], fingerprints)
        if differences:
            raise RunFolderError(
                f"{self.path}: cannot resume: fingerprints differ from those the run began with: "
                f"{_limited(differences)}; bring back what changed or choose another --output"
            )
        record["resumed"].append(session)
        write_json(path, record)

    def record_evaluation(self, moment: Literal["before", "after", "change"], values: Mapping[str, float]) -> None:
        """Adds an evaluation to `eval.json`; a number that is NaN or infinite becomes null, as JSON has neither."""
        finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
        path = self.path / "eval.json"
        write_json(path, (read_json(path) if path.exists() else {}) | {moment: finite})

    def evaluations(self) -> dict[str, dict[str, float]]:
        """What `eval.json` holds: `before`, `after` and their `change`, as far as recorded; null is NaN again."""
        path = self.path / "eval.json"
        recorded = read_json(path) if path.exists() else {}
        return {
            moment: {key: math.nan if value is None else value for key, value in values.items()}
            for moment, values in recorded.items()
        }

    def finish(self) -> None:
        """Records the end in `run.json`, then writes `DONE`: the last write of a run that took all its steps."""
        ended = _now()
        write_json(self.path / "run.json", read_json(self.path / "run.json") | {"ended": ended})
        write_text(self.path / "DONE", f"{ended}\n")


def _new_default(recipe_name: str) -> Path:
    """A folder that did not exist before; making it is what claims its name."""
    stem = Path(recipe_name).name.removesuffix(".yaml").removesuffix(".yml")
    first = Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    with one_line(first):
        first.parent.mkdir(exist_ok=True)
        for number in count(1):
            path = first if number == 1 else first.with_name(f"{first.name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    raise AssertionError("count never ends")


def _suitable(path: Path, *, resume: bool) -> Path:
    """`path`, created if it is missing; refused when it is not ours, before a lock file is left in it."""
    if resume and not path.exists():
        raise RunFolderError(f"{path}: cannot resume: no such folder; leave out --resume to start a new run there")
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path}: is a file; --output needs a folder")
    with one_line(path):
        path.mkdir(parents=True, exist_ok=True)
        is_ours = _is_new(path) or (path / "recipe.yaml").exists()
    if not is_ours:
        raise RunFolderError(
            f"{path}: holds files but no recipe.yaml, so it is not a run folder; choose another --output"
        )
    return path


def _is_new(path: Path) -> bool:
    """Whether nothing was recorded here yet; a crash before the first record may leave the lock and a temporary."""
    return all(entry.name == ".lock" or entry.name.startswith(".recipe.yaml.") for entry in path.iterdir())


def _check_state(path: Path, *, resume: bool) -> None:
    """Refuses a locked folder whose run is over, or is not to be continued."""
    if (path / "DONE").exists():
        raise RunFolderError(f"{path}: holds a finished run; choose another --output")
    is_new = _is_new(path)
    if is_new and resume:
        raise RunFolderError(f"{path}: cannot resume: the folder is empty; leave out --resume to start a new run there")
    if not is_new and not resume:
        raise RunFolderError(f"{path}: holds an unfinished run; add --resume to continue it or choose another --output")


def _locked(path: Path) -> IO[str]:
    """The open lock file. The kernel drops the lock when its holder dies, however that happens."""
    with one_line(path):
        lock = (path / ".lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read() or "another process"  # it may not have written its name yet
        lock.close()
        raise RunFolderError(f"{path}: in use by {holder}; wait for it or choose another --output") from None
    except OSError as error:
        lock.close()
        raise RunFolderError(f"{path}: cannot be locked: {error.strerror}; choose another --output") from None
    # A forked data worker inherits the file and, outliving a killed parent, would keep the lock.
    os.register_at_fork(after_in_child=lock.close)
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on host '{socket.gethostname()}'")
    lock.flush()
    return lock


def _recipe_values(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise RunFolderError(f"{path}: cannot be read, so the run cannot be resumed; start it anew") from None


def _differences(before: object, now: object) -> list[str]:
    """`key (value before, now value)` for each dotted key that differs."""
    old, new = dict(_flat(before)), dict(_flat(now))
    keys = dict.fromkeys([*old, *new])
    return [
        f"{key} ({old.get(key, 'absent')}, now {new.get(key, 'absent')})"
        for key in keys
        if old.get(key, "absent") != new.get(key, "absent")
    ]


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key -> JSON text of each leaf; an empty mapping or list is a leaf."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    if not items or not value:
        yield prefix, json.dumps(value, ensure_ascii=False, default=str)
        return
    for key, inner in items:
        yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))


def _limited(differences: Sequence[str]) -> str:
    rest = len(differences) - SHOWN_DIFFERENCES
    return ", ".join(differences[:SHOWN_DIFFERENCES]) + (f" and {rest} more" if rest > 0 else "")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the result, read without importing any."""
    versions = {"python": platform.python_version()}
    for package in RECORDED:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed as a package"
    return versions
