"""Runs of the toy that die or have two processes, each in a forked child: `python loop_scenarios.py FOLDER`.

One interpreter loads the heavy libraries once; the children inherit them, but no thread and no tensor. Every run that
comes to its end leaves its weights and notes in `end.json`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import loop_toy
import peft  # noqa: F401 -- accelerate asks for it on every `prepare`
import safetensors.torch  # noqa: F401
import torch
import torch._dynamo
from accelerate import Accelerator  # noqa: F401
from children import in_child, wait
from transformers import get_scheduler  # noqa: F401

from alignkit.errors import NonFiniteError

FOLDER = Path(sys.argv[-1])
TWO_PROCESS_ROWS = 17  # batches of 8, 8 and 1: the second process has nothing of the last one
TWO_PROCESS_TOKENS = 8  # where the processes make as many micro-batches in some steps, and not in others
BAD_ROW = 15
KILLS = {
    # name -> (attribute of os, calls of it before the process is killed instead, step of the newest whole checkpoint)
    # A save calls fsync 9 times: log, 3 tensor files, 2 JSON files, model folder, staging folder; after the rename, its
    # parent.
    "before_the_first_fsync": ("fsync", 0, 0),
    "amid_the_files_of_the_first_save": ("fsync", 3, 0),
    "before_the_first_rename": ("replace", 0, 0),
    "just_after_the_first_rename": ("fsync", 8, 2),
    "amid_the_files_of_the_second_save": ("fsync", 12, 2),
    "before_the_second_rename": ("replace", 1, 2),
    "while_the_oldest_is_removed": ("replace", 3, 6),
}
CRASHES = {name: after for name, (_, _, after) in KILLS.items()} | {"at_a_step_boundary": 4, "within_a_step": 4}
"""Runs that are killed -> step they resume after."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(attribute: str, calls: int) -> None:
    """Makes the call after `calls` calls of `os.attribute` fatal."""
    real, left = getattr(os, attribute), [calls]

    def counted(*arguments: object) -> object:
        if left[0] == 0:
            die()
        left[0] -= 1
        return real(*arguments)

    setattr(os, attribute, counted)


class DyingStep(loop_toy.ToyStep):
    """Dies in the second micro-batch of optimizer step 5."""

    def loss(self, rows, step, totals):
        if step == 5 and len(self.prepared[-1][5]) - len(rows) < 6:
            die()
        return super().loss(rows, step, totals)


def crash_run(name: str, resume: bool = False, **values: object) -> None:
    """A run that saves every 2 steps and keeps 2; its losses are noisy and its state matters."""
    step = values.pop("step", None) or loop_toy.ToyStep(noise=True)
    values = {"steps": 8, "save_every": 2, "eval_every": 3, "on_eval": lambda number: {"squared": number**2}} | values
    _, notes, step = loop_toy.run_toy(FOLDER / name, step, resume=resume, **values)
    finish(name, step, notes)


def finish(name: str, step: loop_toy.ToyStep, notes: list[str], stopped_by: int | None = None) -> None:
    record = {"weights": loop_toy.weights_of(step).flatten().tolist(), "notes": notes, "stopped_by": stopped_by}
    with (FOLDER / name / "end.json").open("a") as file:
        file.write(json.dumps(record) + "\n")


def killed_and_resumed(name: str, first: Callable[[], None]) -> None:
    wait(in_child(first), -signal.SIGKILL)
    wait(in_child(lambda: crash_run(name, resume=True)), 0)


def kill_at_calls(name: str, attribute: str, calls: int) -> None:
    die_after(attribute, calls)
    crash_run(name)


def kill_at_boundary(name: str) -> None:
    crash_run(name, on_log=lambda number, line: die() if number == 5 else None)


def two_processes(
    name: str, stops_at: int = 0, bad_row: int | None = None, resume: bool = False, **more: object
) -> None:
    """Two children that train one model with DDP on gloo; a SIGTERM reaches only the second one, at step `stops_at`."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]

    def job(rank: int) -> None:
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}

        def on_eval(number: int) -> dict[str, float]:
            if rank == 1 and number == stops_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return {"squared": number**2}

        values = {"num_rows": TWO_PROCESS_ROWS, "micro_batch_size": 4, "eval_every": 1, "on_eval": on_eval}
        values |= more
        step = loop_toy.ToyStep(bad_row=bad_row)
        try:
            result, notes, _ = loop_toy.run_toy(FOLDER / name, step, resume=resume, **values)
        except NonFiniteError as error:
            (FOLDER / name / f"error-{rank}.txt").write_text(str(error))
        else:
            if rank == 0:
                finish(name, step, notes, result.stopped_by_signal)
        torch.distributed.destroy_process_group()

    for pid in [in_child(lambda rank=rank: job(rank)) for rank in range(2)]:
        wait(pid, 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    wait(in_child(lambda: crash_run("uninterrupted")), 0)
    for name, (attribute, calls, _) in KILLS.items():
        killed_and_resumed(name, lambda name=name, a=attribute, c=calls: kill_at_calls(name, a, c))
    killed_and_resumed("at_a_step_boundary", lambda: kill_at_boundary("at_a_step_boundary"))
    killed_and_resumed("within_a_step", lambda: crash_run("within_a_step", step=DyingStep(noise=True)))
    two_processes("two_by_4")
    two_processes("two_by_tokens", micro_batch_tokens=TWO_PROCESS_TOKENS)
    two_processes("two_stopped", stops_at=4)
    two_processes("two_stopped", resume=True)
    two_processes("two_bad", bad_row=BAD_ROW)
