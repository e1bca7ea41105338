"""Whole TI-DPO runs that die, stop or are split, each in a forked child: `python run_scenarios.py FOLDER`.

One interpreter loads the heavy libraries once; the children inherit them, but no thread and no tensor.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import peft  # noqa: F401 -- accelerate asks for it on every `prepare`
import safetensors.torch  # noqa: F401
import torch
import torch._dynamo
from accelerate import Accelerator  # noqa: F401
from children import in_child, wait
from transformers import get_scheduler  # noqa: F401

from alignkit.engine.objective import ObjectiveStep
from alignkit.evaluation.evaluate import Evaluation
from alignkit.recipe.load import load_recipe
from alignkit.rollouts.pool import AnchorPool
from alignkit.run import run

FOLDER = Path(sys.argv[1])
RECIPE = FOLDER / "recipe.yaml"
TEXT = """
model: {name: world, start: random}
data: {train: "builtin:world", world: {pairs: 40, eval_pairs: 8}}
weighting:
  name: hybrid
  gradient: {name: gradient, refresh_every: 4, smoothing: 0.5}
losses:
  - {name: weighted_dpo, beta: 1.0}
  - name: triplet
    coefficient: 0.1
    anchor: {name: sample_prompt, max_new_tokens: 6, refresh_every: 3}
trainer: {name: preference}
training: {steps: 7, batch_size: 8, micro_batch_size: 4, learning_rate: 1.0e-3, save_every: 2}
evaluation: {pairs: 4, samples: 2, max_new_tokens: 4}
"""
KTO = ("losses=[{name: kto, beta: 1.0}]", "trainer=unpaired", "training.steps=4")


def train(name: str, *more: str, resume: bool = False, micro_batch_size: int = 4) -> None:
    run(load_recipe(RECIPE, [f"training.micro_batch_size={micro_batch_size}", *more]), FOLDER / name, resume, False)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def call_before(owner: object, attribute: str, calls: int, act: Callable[[], None]) -> None:
    """Makes `act` happen before the call after `calls` calls of `owner.attribute`."""
    real, left = getattr(owner, attribute), [calls]

    def counted(*arguments: object, **keywords: object) -> object:
        if left[0] == 0:
            act()
        left[0] -= 1
        return real(*arguments, **keywords)

    setattr(owner, attribute, counted)


def interrupted(
    name: str, expected: int, owner: object, attribute: str, calls: int, act: Callable[[], None], *more: str
) -> None:
    """A run that `act` ends with status `expected`, then the same run resumed."""

    def first() -> None:
        call_before(owner, attribute, calls, act)
        train(name, *more)

    wait(in_child(first), expected)
    wait(in_child(lambda: train(name, *more, resume=True)), 0)


def two_processes(name: str, *more: str) -> None:
    """Two children that train one model with DDP on gloo."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]

    def job(rank: int) -> None:
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"}
        train(name, *more)

    for pid in [in_child(lambda rank=rank: job(rank)) for rank in range(2)]:
        wait(pid, 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    RECIPE.write_text(TEXT)
    wait(in_child(lambda: train("whole")), 0)
    # Rows come again from step 6 on: some keep their importances, others get new ones, smoothed.
    # Step 5 (from 1) is amid a window of anchors, which were drawn before step 4; the checkpoint is that of step 4.
    interrupted("within_a_step", -signal.SIGKILL, ObjectiveStep, "loss", 9, die)
    interrupted("while_anchors_are_drawn", -signal.SIGKILL, AnchorPool, "_draw", 2, die)
    interrupted("within_a_save", -signal.SIGKILL, os, "replace", 7, die)
    stop = lambda: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    interrupted("terminated", 128 + signal.SIGTERM, ObjectiveStep, "loss", 5, stop)
    # The second evaluation is the one after training: only the measuring is left to do.
    interrupted("terminated_while_measuring", 128 + signal.SIGTERM, Evaluation, "measure", 1, stop)
    lora = ("model.adapter={rank: 2, alpha: 4}", "training.steps=4")
    wait(in_child(lambda: train("lora", *lora)), 0)
    interrupted("lora_terminated", 128 + signal.SIGTERM, ObjectiveStep, "loss", 5, stop, *lora)
    # A window of anchors begins at step 7 (from 1), so the longer run draws what the straight one does.
    constant = ("training.schedule=constant", "training.warmup=0.0")
    wait(in_child(lambda: train("straight", *constant)), 0)
    wait(in_child(lambda: train("extended", *constant, "training.steps=6")), 0)
    wait(in_child(lambda: train("extended", *constant, "training.save_every=1", resume=True)), 0)
    wait(in_child(lambda: train("one_by_8", micro_batch_size=8)), 0)
    wait(in_child(lambda: train("eight_by_1", micro_batch_size=1)), 0)
    two_processes("two_by_4")
    wait(in_child(lambda: train("kto", *KTO)), 0)
    two_processes("kto_two_by_4", *KTO)
