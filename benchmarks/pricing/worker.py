"""One variant in a process of its own: `python worker.py VARIANT FOLDER WATCH STEPS`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from pricing.job import Job
from pricing.turns import Turns


def _products(**what: bool) -> Callable[[Job, Turns], None]:
    def run(job: Job, turns: Turns) -> None:
        from pricing import bare

        bare.run(job, turns, **what)

    return run


def _plain(job: Job, turns: Turns) -> None:
    from pricing.plain import run

    run(job, turns)


def _ours(method: str, **how: bool) -> Callable[[Job, Turns], None]:
    def run(job: Job, turns: Turns) -> None:
        from pricing import ours

        ours.run(job, turns, method, **how)

    return run


def _trl(trainer: str) -> Callable[[Job, Turns], None]:
    def run(job: Job, turns: Turns) -> None:
        from pricing import trl_side

        getattr(trl_side, trainer)(job, turns)

    return run


VARIANTS: dict[str, Callable[[Job, Turns], None]] = {
    "products": _products(),
    "products+weights": _products(weights=True),
    "products of tidpo": _products(weights=True, anchors=True),
    "plain": _plain,
    "alignkit dpo": _ours("dpo"),
    "alignkit tidpo weights": _ours("tidpo weights"),
    "alignkit tidpo": _ours("tidpo"),
    "any order": _ours("tidpo weights", any_order=True),
    "trl dpo": _trl("dpo"),
    "alignkit grpo": _ours("grpo"),
    "trl grpo": _trl("grpo"),
}
"""Each imports what it needs in its own process: what a library loads counts as memory."""


def main(variant: str, folder: str, watch: str, steps: str) -> None:
    job = Job.read(Path(folder))
    torch.set_num_threads(job.threads)
    VARIANTS[variant](job, Turns(watch, int(steps)))


if __name__ == "__main__":
    main(*sys.argv[1:])
