"""A recorded run once more: whether what went in is here as it was, and whether the same comes out."""

from __future__ import annotations

import filecmp
import gc
import math
import platform
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path

from rich.console import Console

from alignkit.errors import RunFolderError
from alignkit.folder import DONE, FINAL, RECIPE, RUN
from alignkit.lazy import accelerate, torch
from alignkit.loop.metrics import TIMING_KEYS
from alignkit.progress.display import note
from alignkit.recipe.load import LoadedRecipe
from alignkit.recipe.pipeline import load
from alignkit.records.files import read_record
from alignkit.records.run_record import RunRecord
from alignkit.records.versions import versions
from alignkit.result import RunResult
from alignkit.run import load_parts, run, surroundings

Values = Mapping[tuple[int | str, str], float]
"""(step or moment, name) -> number."""

INPUTS = ("data", "template", "model")
"""What goes into a run and has a fingerprint in its record."""


def reproduce(
    folder: Path | str,
    output: Path | str | None = None,
    check: bool = False,
    anyway: bool = False,
    quiet: bool = False,
) -> bool:
    """Checks what went into a run, runs its recipe anew and compares what came of both.

    Args:
        folder: the run folder; nothing in it is changed.
        output: folder of the new run; None makes one below `runs/`, called after the old one.
        check: only check.
        anyway: run even where data, template or model are others.
        quiet: print nothing.

    Returns:
        Whether the same bits came of it; with `check`, whether nothing that was checked differs.

    Raises:
        AlignkitError: the folder holds no run, what went in is not what it was, or the run cannot be had.
        SystemExit: 128 + signal, as of any run.
    """
    folder = Path(folder)
    loaded, record = _recorded(folder)
    state = accelerate.PartialState(cpu=not torch.accelerator.is_available())
    console = Console(quiet=quiet or not state.is_main_process)
    surrounded = _said(console, [*_machine(record, loaded), *_history(folder, record)])
    others = _inputs(console, loaded, record)
    gc.collect()  # what was loaded to be looked at
    if others and not (anyway or check):
        raise RunFolderError(
            f"{folder}: cannot be reproduced: other {' and '.join(others)} than the run had; bring back what changed, "
            "or add --anyway to run it all the same"
        )
    if check:
        return not (surrounded or others)
    new = run(loaded, _new_folder(folder) if output is None else output, quiet=quiet)
    if not state.is_main_process:
        return True  # the main process says it, and may still be writing
    return not _said(console, _outcome(RunResult(folder), new), "the same bits: metrics, evaluations and weights")


def _recorded(folder: Path) -> tuple[LoadedRecipe, RunRecord]:
    if not (folder / RECIPE).is_file():
        raise RunFolderError(f"{folder}: is no run folder, it holds no {RECIPE}; give one")
    loaded = load(folder / RECIPE)
    if not isinstance(loaded, LoadedRecipe):
        stages = " and ".join(str(folder / f"{number}-{name}") for number, name in enumerate(loaded.stages, 1))
        raise RunFolderError(f"{folder}: holds a pipeline; reproduce its stages one by one: {stages}")
    if not (folder / RUN).is_file():
        raise RunFolderError(f"{folder}: is no run folder, it holds no {RUN}; give one")
    return loaded, read_record(folder / RUN, RunRecord)


def _said(console: Console, lines: Iterable[str], otherwise: str = "") -> bool:
    """Prints lines as they come, or another one when there are none; whether there were any."""
    some = False
    for line in lines:
        note(console, line)
        some = True
    if not some and otherwise:
        note(console, otherwise)
    return some


def _machine(record: RunRecord, loaded: LoadedRecipe) -> Iterator[str]:
    """What runs the recipe and is another than it was: the last bits may differ with it."""
    here, was = {**versions(), **loaded.plugins}, {**record.versions, **record.plugins}
    for package in dict.fromkeys([*was, *here]):
        before, now = was.get(package, "not recorded"), here.get(package, "not here")
        if before != now:
            yield f"version of {package}: {before} then, {now} now"
    for library, now in loaded.libraries.items():  # of which the recorded recipe still names a file
        before = record.libraries.get(library, "not recorded")
        if before != now:
            yield f"library {library}: {before} then, {now} now"
    if record.platform != platform.platform():
        yield f"platform: {record.platform} then, {platform.platform()} now"


def _history(folder: Path, record: RunRecord) -> Iterator[str]:
    """What the recorded run itself was not: one session of one version from beginning to end."""
    if not (folder / DONE).is_file():
        yield f"{folder}: that run is not finished; what it has is compared"
    for number, session in enumerate(record.resumed, 2):
        changes = [f"{key} ({change})" for key, change in session.changes.items()]
        changes += [
            f"version of {name}" for name, found in session.versions.items() if found != record.versions.get(name)
        ]
        if changes:
            yield f"{folder}: session {number} of that run had another {', another '.join(changes)}"


def _inputs(console: Console, loaded: LoadedRecipe, record: RunRecord) -> list[str]:
    """Says of data, template and model whether they are what they were; the names of those that are not."""
    with surroundings(loaded, quiet=True):
        now = load_parts(loaded, Path("."), None).fingerprints
    others = [name for name in INPUTS if record.fingerprints.get(name) != now[name]]
    for name in INPUTS:
        before = record.fingerprints.get(name, "none")
        note(console, f"{name}: fingerprint {before} then, {now[name]} now" if name in others else f"{name}: as it was")
    return others


def _new_folder(folder: Path) -> Path:
    """`runs/NAME-again`, or with the first number that is free."""
    name = f"{folder.resolve().name}-again"
    return next(path for n in count(1) if not (path := Path("runs") / (name if n == 1 else f"{name}-{n}")).exists())


def _outcome(old: RunResult, new: RunResult) -> Iterator[str]:
    """What differs between two runs, as far as the first one came: a line each for metrics, evaluations and weights."""
    assert old.folder is not None and new.folder is not None, "both were recorded"
    was, now = _metrics(old), _metrics(new)
    if found := _differing(was, now):
        (step, name), *_ = found
        steps = len({step for step, _ in found})
        yield (
            f"metrics: the same until step {step}, where {name} was {was[step, name]} and is "
            f"{now.get((step, name), 'not there')}; {steps:,} of {len(old.metrics):,} lines differ{_largest(was, now)}"
        )
    was, now = _evaluations(old), _evaluations(new)
    if found := _differing(was, now):
        yield f"evaluations: {len(found)} of {len(was)} values differ{_largest(was, now)}"
    for file in sorted((old.folder / FINAL).glob("*.safetensors")):
        if not filecmp.cmp(file, new.folder / FINAL / file.name, shallow=False):
            yield f"weights: {FINAL}/{file.name} is not the same"


def _metrics(result: RunResult) -> dict[tuple[int | str, str], float]:
    """(step, name) -> value of all that is no time, in the order of the log."""
    return {
        (int(line.get("step", 0)), name): value
        for line in result.metrics
        for name, value in line.items()
        if name not in TIMING_KEYS | {"step"}
    }


def _evaluations(result: RunResult) -> dict[tuple[int | str, str], float]:
    """(moment, measure) -> value."""
    return {(moment, name): value for moment, found in result.evaluations.items() for name, value in found.items()}


def _differing(was: Values, now: Values) -> list[tuple[int | str, str]]:
    """The keys of the first whose values are not the same bits in the second."""
    return [key for key, value in was.items() if repr(now.get(key)) != repr(value)]  # as NaN is not equal to itself


def _largest(was: Values, now: Values) -> str:
    """The largest difference of two numbers, in words."""
    sizes = {key: abs(now[key] - value) for key, value in was.items() if key in now}
    finite = {key: size for key, size in sizes.items() if math.isfinite(size)}
    at = max(finite, key=lambda key: finite[key], default=None)
    return "" if at is None else f"; largest difference {finite[at]:.3g}, of {at[1]} {_when(at[0])}"


def _when(at: int | str) -> str:
    return f"at step {at}" if isinstance(at, int) else {"change": "in their change"}.get(at, f"{at} training")
