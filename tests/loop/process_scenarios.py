"""Runs of two processes of which one fails, each in a forked child: `python process_scenarios.py FOLDER few|rest`.

One interpreter loads the heavy libraries once. Every scenario leaves `NAME.json`: exit codes, seconds from the fault to
the end of the last process, and what both wrote to standard error.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import peft  # noqa: F401 -- accelerate asks for it on every `prepare`
import safetensors.torch  # noqa: F401
import torch
import torch._dynamo
from accelerate import Accelerator  # noqa: F401
from transformers import LlamaForCausalLM, get_scheduler  # noqa: F401

import alignkit.run as runs
from alignkit import cli
from alignkit.engine.objective import ObjectiveStep
from alignkit.errors import DataError
from alignkit.evaluation.evaluate import Evaluation
from alignkit.loop import processes

FOLDER = Path(sys.argv[-2])
TEXT = """
model: {name: world, start: random}
data: {train: "builtin:world", world: {pairs: 12, eval_pairs: 4}}
losses: [{name: dpo, beta: 1.0}]
trainer: preference
training: {steps: 4, batch_size: 4, micro_batch_size: 1, learning_rate: 1.0e-3}
evaluation: {pairs: 2, samples: 0}
"""
COMMAND = ["run", str(FOLDER / "recipe.yaml"), "--output"]


def at_call(owner: object, attribute: str, number: int, act: Callable[[], None]) -> None:
    """Makes `act` happen at the `number`-th call of `owner.attribute`; the moment is noted."""
    real, calls = getattr(owner, attribute), [0]

    def counted(*arguments: object, **keywords: object) -> object:
        calls[0] += 1
        if calls[0] == number:
            (FOLDER / "fault").write_text(str(time.time()))
            act()
        return real(*arguments, **keywords)

    setattr(owner, attribute, counted)


def raising(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


FAULTS: dict[str, tuple[int, object, str, int, Callable[[], None]]] = {
    # name -> (rank, where, at which call, what happens)
    "a_bug_amid_training": (1, ObjectiveStep, "loss", 3, raising(RuntimeError("boom"))),
    "a_bug_in_the_main_one": (0, ObjectiveStep, "loss", 3, raising(RuntimeError("boom"))),
    "a_mistake_in_one": (1, runs, "load_tables", 1, raising(DataError("rows.jsonl:3: no text"))),
    "killed": (1, ObjectiveStep, "loss", 3, send(signal.SIGKILL)),
    "terminated_while_measuring": (1, Evaluation, "measure", 2, send(signal.SIGTERM)),
}


def job(rank: int, port: int, name: str, arguments: list[str]) -> None:
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"}
    errors = os.open(FOLDER / f"{name}.err", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(errors, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    if name in FAULTS and FAULTS[name][0] == rank:
        at_call(*FAULTS[name][1:])
    if name == "another_recipe_in_one" and rank == 1:
        arguments += ["--set", "training.steps=5"]
    cli.main(arguments)


def scenario(name: str, *arguments: str) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(2):
        pid = os.fork()
        if not pid:
            try:
                job(rank, port, name, [*COMMAND, str(FOLDER / name), *arguments])
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else bool(stop.code)
                os._exit(98 if torch.distributed.is_initialized() else code)
            except BaseException:
                traceback.print_exc()
                os._exit(99)
            os._exit(0)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    fault = FOLDER / "fault"
    seconds = time.time() - float(fault.read_text()) if fault.exists() else 0.0
    fault.unlink(missing_ok=True)
    record = {"codes": codes, "seconds": seconds, "errors": (FOLDER / f"{name}.err").read_text()}
    (FOLDER / f"{name}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    torch.set_num_threads(1)
    (FOLDER / "recipe.yaml").write_text(TEXT)
    if sys.argv[-1] == "few":
        scenario("a_mistake_in_all", "--set", "losses=[{name: nothing}]")
        scenario("too_many_for_the_batch", "--set", "training.batch_size=1")
    processes.PATIENCE = 0.5  # nobody fails alike from here on
    if sys.argv[-1] == "few":
        scenario("another_recipe_in_one")
        scenario("a_bug_amid_training")
        scenario("killed")
    else:
        for name in FAULTS.keys() - {"a_bug_amid_training", "killed"}:
            scenario(name)
        scenario("fine")
