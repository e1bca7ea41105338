"""Whole runs of one process and of two that share a model cut into pieces: `python sharded_scenarios.py FOLDER`.

One interpreter loads the heavy libraries once; the two processes are forked from it once and make one run after the
other. Every run has a folder of its own; `NAME` is that of two processes, `NAME.one` that of one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import peft  # noqa: F401 -- accelerate asks for it on every `prepare`
import safetensors.torch  # noqa: F401
import torch
import torch._dynamo
from accelerate import Accelerator
from children import in_child, wait
from transformers import LlamaForCausalLM, get_scheduler  # noqa: F401

from alignkit.engine.objective import ObjectiveStep
from alignkit.loop.optimizer import optimizer_tensors
from alignkit.loop.saving import Saver
from alignkit.parallel.tensors import piece
from alignkit.recipe.load import load_recipe
from alignkit.run import run

FOLDER = Path(sys.argv[1])
BASE = """
model: {name: world, start: random}
data: {train: "builtin:world", world: {pairs: 21, eval_pairs: 5}}
# The third batch has 5 rows: one process has 2 micro-batches of it, the other 1.
training: {steps: 4, batch_size: 8, micro_batch_size: 2, learning_rate: 1.0e-3, warmup: 0.0, save_every: 2}
evaluation: {pairs: 5, samples: 3, batch_size: 1, max_new_tokens: 6}
"""
PAIRS = BASE + "trainer: preference\n"
TIDPO = """
weighting:
  name: hybrid
  gradient: {name: gradient, refresh_every: 3, smoothing: 0.5}
losses:
  - {name: weighted_dpo, beta: 1.0}
  - name: triplet
    coefficient: 0.1
    anchor: {name: sample_prompt, max_new_tokens: 6, refresh_every: 3}
"""
DPO = "losses: [{name: dpo, beta: 1.0}]\n"
GRPO = """
rewards: [{name: regex, pattern: "[bkz]"}]
sampler: {name: generate, responses: 3, max_new_tokens: 8, refill_rounds: 1}
weighting: {name: hybrid}
advantage: {name: group}
losses: [{name: policy_gradient, kl: {coefficient: 0.1}}]
trainer: {name: on_policy, updates_per_rollout: 2, samples_every: 2}
"""
RECIPES: dict[str, tuple[str, Sequence[str]]] = {
    # name -> (recipe, what it changes in it)
    "dpo": (PAIRS + DPO, ()),
    # Its reference moves before each step but the first, so a checkpoint holds it, and anchors are scored again.
    "tidpo": (PAIRS + TIDPO, ("training.eval_every=2", "model.reference_update={every: 1, mix: 0.6}")),
    "lora": (PAIRS + TIDPO, ("model.adapter={rank: 2, alpha: 4}", "training.steps=2")),
    "recomputed": (PAIRS + TIDPO, ("model.gradient_checkpointing=true", "training.steps=2")),
    "kto": (BASE + "losses: [{name: kto, beta: 1.0}]\ntrainer: unpaired\n", ("training.steps=2",)),
    "grpo": (BASE + GRPO, ("training.batch_size=3", "training.micro_batch_size=4")),
    "half": (PAIRS + TIDPO, ("training.precision=bf16", "training.steps=2")),
    "bf16": (PAIRS + DPO, ("training.parameters=bf16", "training.steps=2")),
    "offload": (PAIRS + DPO, ("training.steps=2",)),
}
KILLED = ("training.save_every=1",)
FSDP = "parallel.strategy=fsdp"
OWN = {"offload": ("parallel.offload=true",)}


def train(name: str, recipe: str, *more: str, resume: bool = False) -> None:
    path = FOLDER / f"{recipe}.yaml"
    run(load_recipe(path, [*RECIPES[recipe][1], *more]), FOLDER / name, resume, False)


def processes(number: int, job: Callable[[int], None], expected: int = 0) -> None:
    """Children with a group of gloo; `job` gets the rank."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]

    def child(rank: int) -> None:
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
        os.environ |= {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number)}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        job(rank)

    for pid in [in_child(lambda rank=rank: child(rank)) for rank in range(number)]:
        wait(pid, expected)


def die_within_step(number: int) -> None:
    """Makes the first micro-batch of step `number` (from 0) fatal."""
    real, seen = ObjectiveStep.loss, [0]

    def counted(step: ObjectiveStep, rows: object, now: int, totals: object) -> object:
        seen[0] += now == number
        if seen[0] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(step, rows, now, totals)  # type: ignore[arg-type]

    ObjectiveStep.loss = counted  # type: ignore[assignment,method-assign]


def killed(name: str, *more: str) -> None:
    """A run that is killed in step 3; its last checkpoint is that of step 2, amid a window of anchors."""
    die_within_step(2)
    train(name, "tidpo", *KILLED, *more)


def alone() -> None:
    for name in ONLY:
        train(f"{name}.one", name)


def stopped_and_resumed(name: str, recipe: str, rank: int) -> None:
    """A signal reaches one process in the first step; both save and stop, and then go on."""
    real, calls = ObjectiveStep.loss, [0]

    def signalled(step: ObjectiveStep, *arguments: object) -> object:
        calls[0] += 1
        if calls[0] == 1 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(step, *arguments)  # type: ignore[arg-type]

    ObjectiveStep.loss = signalled  # type: ignore[assignment,method-assign]
    try:
        train(name, recipe, FSDP)
    except SystemExit as stop:
        assert stop.code == 128 + signal.SIGTERM
    ObjectiveStep.loss = real  # type: ignore[method-assign]
    train(name, recipe, FSDP, resume=True)


def record_pieces(rank: int) -> None:
    """Has each save write how many numbers of parameters and of the optimizer's memory this process holds."""
    real = Saver.save

    def recording(saver: Saver, *arguments: object) -> None:
        remembered = optimizer_tensors(saver.optimizer, saver.parameters)
        counts = [
            (sum(tensor.numel() for tensor in tensors), sum(piece(tensor).numel() for tensor in tensors))
            for tensors in (saver.parameters.values(), [one for one in remembered.values() if one.dim()])
        ]
        (saver.folder.folder.parent / f"pieces-{rank}.json").write_text(json.dumps(counts))
        real(saver, *arguments)  # type: ignore[arg-type]

    Saver.save = recording  # type: ignore[method-assign]


def together(rank: int) -> None:
    record_pieces(rank)
    Accelerator.end_training = lambda self: None  # type: ignore[method-assign] -- it ends the group as well
    for name in ONLY:
        train(name, name, FSDP, *OWN.get(name, ()))
    if "tidpo" in ONLY:
        train("killed", "tidpo", *KILLED, FSDP, resume=True)
        train("one_to_two", "tidpo", *KILLED, FSDP, resume=True)
    if "lora" in ONLY:
        stopped_and_resumed("lora_stopped", "lora", rank)


def in_two_groups(_: int) -> None:
    train("replicated", "dpo", FSDP, "parallel.replicate=2")


ONLY = sys.argv[2:] or list(RECIPES)

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in ONLY:
        (FOLDER / f"{name}.yaml").write_text(RECIPES[name][0])
    wait(in_child(alone))
    if "tidpo" in ONLY:
        wait(in_child(lambda: killed("one_to_two")), -signal.SIGKILL)
        processes(2, lambda rank: killed("killed", FSDP), -signal.SIGKILL)
        shutil.copytree(FOLDER / "killed", FOLDER / "two_to_one")
        wait(in_child(lambda: train("two_to_one", "tidpo", *KILLED, resume=True)))
    processes(2, together)
    if "dpo" in ONLY:
        processes(4, in_two_groups)
