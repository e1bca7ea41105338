"""The parent's side of taking turns: variants in processes of their own, one step of each after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pricing.job import Job
from pricing.turns import Watch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

Answer = dict[str, Any]


class Child:
    """A variant's process, waiting for its turn."""

    def __init__(self, variant: str, job: Job, watch: Watch, steps: int, python: Path) -> None:
        self.variant = variant
        self.errors = (job.folder / f"{variant.replace(' ', '-')}.err").open("w+")
        command = [python, HERE / "worker.py", variant, job.folder, watch, steps]
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment(job, watch),
        )

    def answer(self) -> Answer:
        """What it says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            sys.exit(f"{self.variant} ended:\n{self.errors.read()[-4000:]}")
        return dict(json.loads(line))

    def step(self) -> Answer:
        """Has it make a step."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        """Ends it, whatever it does."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def environment(job: Job, watch: Watch) -> dict[str, str]:
    """Variables of a child: threads, no network, and memory that is given back where the process is watched."""
    threads = str(job.threads)
    fixed = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "passive",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(job.folder / "hf"),
        **({"ACCELERATE_USE_CPU": "true"} if job.device == "cpu" else {}),
        "TQDM_DISABLE": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "PYTHONPATH": str(ROOT),
    }
    # Without, blocks below 32 MiB may stay with glibc, in pieces that nothing fits into.
    return os.environ | fixed | ({"MALLOC_MMAP_THRESHOLD_": "131072"} if watch == "resident" else {})


@contextmanager
def children(job: Job, variants: Mapping[str, int], watch: Watch, pythons: Mapping[str, Path]) -> Iterator[list[Child]]:
    """The variants, ready for their first step.

    Args:
        job: what they are given.
        variants: name -> steps.
        watch: what is measured.
        pythons: name -> interpreter, where it is another one.
    """
    with ExitStack() as stack:
        found = []
        for name, steps in variants.items():
            child = Child(name, job, watch, steps, pythons.get(name, Path(sys.executable)))
            stack.callback(child.end)
            child.answer()
            found.append(child)
        yield found


def in_turns(
    job: Job, variants: Mapping[str, int], pythons: Mapping[str, Path], watch: Watch = "time"
) -> dict[str, list[Answer]]:
    """Each step by every variant that has steps left, then the next; name -> its answers, the warm-up included."""
    answers: dict[str, list[Answer]] = {name: [] for name in variants}
    with children(job, variants, watch, pythons) as ready:
        for step in range(max(variants.values())):
            for child in ready:
                if step < variants[child.variant]:
                    answers[child.variant].append(child.step())
            print(f"\rstep {step + 1} of {max(variants.values())}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return answers


def alone(
    job: Job, variants: Sequence[str], steps: int, pythons: Mapping[str, Path], watch: Watch
) -> dict[str, list[Answer]]:
    """The same, one variant after the other, so that no two are in memory at once."""
    found: dict[str, list[Answer]] = {}
    for name in variants:
        found |= in_turns(job, {name: steps}, pythons, watch)
    return found
