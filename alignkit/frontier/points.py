"""What the runs of a sweep measured on each prompt, laid out so that it can be drawn again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alignkit.errors import RunFolderError, shown
from alignkit.evaluation.settings import FILES
from alignkit.lazy import numpy as np
from alignkit.registry import suggestion
from alignkit.sweep.record import SweepRecord, SweepRun

if TYPE_CHECKING:
    from numpy import ndarray

TEXT: Final = ("moment", "row", "where", "prompt", "response", "prompt_hash")
"""Keys of a sample that are no measure."""


@dataclass(frozen=True)
class Point:
    """One point of one arm: what its runs have in common, seeds apart.

    Attributes:
        arm: the method.
        settings: dotted key -> value.
    """

    arm: str
    settings: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Its settings in a few words."""
        return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in self.settings.items())


@dataclass(frozen=True)
class Measured:
    """Reward and cost of N points for S seeds, prompt by prompt.

    Attributes:
        points: the points, arm by arm.
        seeds: the seeds, the same for all points.
        sums: of each seed [C, 2, N]: reward and cost added over the samples of each of C prompts.
        counts: of each seed [C]: samples of each prompt, the same for all points.
        start: reward before training, mean over the runs that measured it; NaN where none did.
        left_out: sentences about what is not in it.
    """

    points: Sequence[Point]
    seeds: Sequence[int]
    sums: Sequence[ndarray]
    counts: Sequence[ndarray]
    start: float
    left_out: Sequence[str]

    @property
    def arms(self) -> list[str]:
        """The arms, in their order."""
        return list(dict.fromkeys(point.arm for point in self.points))

    def of(self, arm: str) -> list[int]:
        """The places of an arm's points."""
        return [place for place, point in enumerate(self.points) if point.arm == arm]

    @property
    def means(self) -> ndarray:
        """[S, 2, N] reward and cost of each run."""
        pairs = zip(self.sums, self.counts, strict=True)
        found: ndarray = np.stack([sums.sum(0) / counts.sum() for sums, counts in pairs])
        return found


def read_points(folder: Path, record: SweepRecord, reward: str, cost: str) -> Measured:
    """What the finished runs of a sweep measured.

    A point needs a run of every seed that is used: without one, its seed is left out, and where no run of a point
    finished, the point.

    Args:
        folder: of the sweep.
        record: what it holds.
        reward: the measure of sampled responses that should be large.
        cost: the one that it is paid with.

    Raises:
        RunFolderError: nothing can be used, or runs of one seed were measured on other prompts.
    """
    runs = _grouped(record)
    there = {key: {run.seed: run for run in group if run.state == "finished"} for key, group in runs.items()}
    used = {key: found for key, found in there.items() if found}
    left_out = [f"{_named(runs[key][0])}: no run finished" for key in runs if key not in used]
    wanted = list(dict.fromkeys(run.seed for group in runs.values() for run in group))
    seeds = [seed for seed in wanted if all(seed in found for found in used.values())]
    left_out += [f"seed {seed}: not all of its runs finished" for seed in wanted if seed not in seeds]
    if not used or not seeds:
        raise RunFolderError(f"{folder}: no seed has all of its runs finished; go on with 'alignkit sweep'")
    points = [Point(run.arm, run.settings) for run in (next(iter(found.values())) for found in used.values())]
    cache: dict[str, tuple[_Samples, float]] = {}
    parts, starts = [], []
    for seed in seeds:
        samples = []
        for found in used.values():
            run = found[seed]
            if run.folder not in cache:
                cache[run.folder] = _samples(folder / run.folder, reward, cost)
            samples.append(cache[run.folder][0])
            starts.append(cache[run.folder][1])
        parts.append(_laid_out(samples, seed, folder))
    return Measured(points, seeds, [one[0] for one in parts], [one[1] for one in parts], _mean(starts), left_out)


def _grouped(record: SweepRecord) -> dict[tuple[str, str], list[SweepRun]]:
    """The runs of each point, arm by arm."""
    found: dict[tuple[str, str], list[SweepRun]] = {}
    for arm in record.arms:
        for run in (run for run in record.runs if run.arm == arm):
            found.setdefault((arm, json.dumps(run.settings, sort_keys=True)), []).append(run)
    return found


def _named(run: SweepRun) -> str:
    return f"{run.arm} {json.dumps(run.settings, ensure_ascii=False)}"


@dataclass(frozen=True)
class _Samples:
    """Of one run after training: the prompt of each sample, and [n, 2] its reward and cost."""

    prompts: Sequence[str]
    values: ndarray


def _samples(run: Path, reward: str, cost: str) -> tuple[_Samples, float]:
    """The samples after training, and the mean reward before it."""
    path = run / FILES["samples"]
    prompts: list[str] = []
    values: list[tuple[float, float]] = []
    before: list[float] = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                if record["moment"] == "before":
                    before += [float(record[reward])] if record.get(reward) is not None else []
                    continue
                _insist(path, record, (reward, cost))
                prompts.append(record["prompt"])
                values.append((float(record[reward]), float(record[cost])))
    except RunFolderError:  # which is an OSError too
        raise
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise RunFolderError(f"{path}: is damaged; restore it or run the sweep elsewhere") from None
    if not values:
        raise RunFolderError(f"{path}: holds no samples after training; a frontier needs evaluation.samples")
    return _Samples(prompts, np.array(values)), _mean(before)


def _insist(path: Path, record: Mapping[str, Any], names: Sequence[str]) -> None:
    known = [key for key, value in record.items() if isinstance(value, int | float) and key not in TEXT]
    for name in names:
        if not isinstance(record.get(name), int | float):
            raise RunFolderError(f"{path}: a sample has no number {shown(name)}; {suggestion(name, known)}")


def _laid_out(samples: Sequence[_Samples], seed: int, folder: Path) -> tuple[ndarray, ndarray]:
    """[C, 2, N] sums and [C] counts of runs whose prompts are the same."""
    first = samples[0].prompts
    if any(one.prompts != first for one in samples):
        raise RunFolderError(
            f"{folder}: runs of seed {seed} were measured on other prompts than each other, so nothing can be paired; "
            "give all arms the same data and evaluation"
        )
    numbers: dict[str, int] = {}
    places = np.array([numbers.setdefault(prompt, len(numbers)) for prompt in first])
    sums = np.zeros((len(numbers), 2, len(samples)))
    for column, one in enumerate(samples):
        np.add.at(sums[:, :, column], places, one.values)
    return sums, np.bincount(places).astype(float)


def _mean(values: Sequence[float]) -> float:
    """The mean of those that are known; NaN where none is."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
