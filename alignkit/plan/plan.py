"""The plan of a run: rows, lengths, steps, parameters, memory, time. Data and tokenizer are read, weights are not."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignkit.data.naming import on_world
from alignkit.data.rows import DataReport, Tables
from alignkit.determinism import deterministic
from alignkit.lazy import torch
from alignkit.loop.accelerator import make_accelerator, own_state
from alignkit.loop.order import DataOrder, planned_steps
from alignkit.models.quantized import count_numbers
from alignkit.plan.ledger import Stage
from alignkit.plan.lengths import Lengths, lengths_of
from alignkit.plan.presumed import presumed_rows
from alignkit.plan.rehearsal import CUT, LARGEST, UNWEIGHTED, Rehearsed, rehearse
from alignkit.plan.speed import FACTOR, Speed, try_speed
from alignkit.recipe.load import LoadedRecipe
from alignkit.run import read_rows

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Memory:
    """The most that lives at once on the device of one process; bytes of tensors.

    Attributes:
        peak: the most, if an anchor ends where the longest response of its row does.
        at_most: the most, if every anchor is as long as it may become.
        during: the stage it lives in.
        parts: what it is, kind -> bytes.
        stages: stage -> the most that lives in it.
        token_weights: what token weights add to the largest micro-batch; 0 where they need no gradient of their own.
        device: what the device has.
    """

    peak: int
    at_most: int
    during: str
    parts: Mapping[str, int]
    stages: Mapping[str, int]
    token_weights: int
    device: int


@dataclass(frozen=True)
class Time:
    """How long the run takes on the device that the plan is made on; seconds.

    Attributes:
        total: all of it, loading aside.
        at_least: total / FACTOR; `at_most` is total x FACTOR.
        stages: stage -> its part.
        flops: floating-point operations of the whole run.
        speed: what was tried of the device.
    """

    total: float
    at_least: float
    at_most: float
    stages: Mapping[str, float]
    flops: float
    speed: Speed


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
        recipe: its file.
        data: what became of each source; a second one holds the held-out rows.
        rows: `train` and `held_out` rows.
        lengths: part of a training row -> its lengths.
        steps: optimizer steps.
        epochs: passes over the training rows.
        batch: `size` examples per optimizer step, over all processes; at most `micro_batch` in one forward pass, and
            `micro_batches` of them per step and process, `processes` together; `tokens` is the most of a forward pass,
            0 where examples are counted. With `responses` sampled to each, which
            is 0 otherwise, `size` counts prompts and `micro_batch` what is made of their responses.
        tokens_per_step: mean tokens of a step: `prompt` tokens are read and masked, `response` tokens are in the loss.
        parameters: `total`, adapter included, and `trained`.
        layout: of the rows.
        reference: where its log-probs come from; None where nobody needs them.
        memory: the peak and its parts.
        time: an estimate; None where training could not be rehearsed.
        notes: what the user should know of the model.
        left_out: what neither memory nor time counts.
    """

    recipe: str
    data: Sequence[DataReport]
    rows: Mapping[str, int]
    lengths: Mapping[str, Lengths]
    steps: int
    epochs: float
    batch: Mapping[str, int]
    tokens_per_step: Mapping[str, float]
    parameters: Mapping[str, int]
    layout: str
    reference: str | None
    memory: Memory
    time: Time | None
    notes: Sequence[str]
    left_out: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """Plain values under the names of the attributes."""
        return asdict(self)


@dataclass(frozen=True)
class Planned:
    """A plan, and what a reader is shown beside it."""

    plan: Plan
    loaded: LoadedRecipe
    tables: Tables
    tokenizer: PreTrainedTokenizerBase


def make_plan(loaded: LoadedRecipe, clock: Callable[[], float] = time.perf_counter) -> Planned:
    """Plans the run of a recipe.

    Args:
        loaded: the recipe.
        clock: seconds that only grow, by which the device's speed is tried.

    Raises:
        AlignkitError: a part cannot be had or does not fit, as far as that shows without weights.
    """
    recipe = loaded.recipe
    with own_state(), deterministic(recipe.training.deterministic):
        accelerator = make_accelerator(recipe.training, Path("."))
        tokenizer, tables = read_rows(recipe, None)
        found = rehearse(recipe, tables, tokenizer, accelerator, on_world=on_world(recipe.data))
        plan = _plan(loaded, tables, found, accelerator, clock)
    return Planned(plan, loaded, tables, tokenizer)


def _plan(
    loaded: LoadedRecipe, tables: Tables, found: Rehearsed, accelerator: Accelerator, clock: Callable[[], float]
) -> Plan:
    training, rows = found.job.training, tables.train
    lengths = lengths_of(rows)
    trained, of_each = presumed_rows(found.job.method, rows)
    responses = sum(len(ids) for row in trained for ids in row.responses.values()) / len(trained) * of_each
    updates, drawing = found.job.method.view.updates, found.job.method.drawing
    steps = planned_steps(training, len(rows), updates)
    notes = list(found.policy.notes)
    if drawing is not None:
        notes.append(
            f"sampled responses are presumed to be as long as they may be, {drawing.sampler.max_new_tokens} tokens"
        )
    has_training = any(stage.name == LARGEST for stage in found.stages)
    parameters = list(found.policy.model.parameters())
    return Plan(
        recipe=str(loaded.path),
        data=tables.reports,
        rows={"train": len(rows), "held_out": len(tables.eval)},
        lengths=lengths,
        steps=steps,
        epochs=DataOrder(rows, training.batch_size, loaded.recipe.seed, updates).epochs_after(steps),
        batch={
            "size": training.batch_size,
            "micro_batch": max(map(len, found.micro.all)),
            "micro_batches": math.ceil(found.micro.per_step),
            "tokens": training.micro_batch_tokens or 0,
            "processes": accelerator.num_processes,
            "responses": drawing.sampler.responses if drawing is not None else 0,
        },
        tokens_per_step={
            "prompt": lengths["prompt"].mean * of_each * training.batch_size,
            "response": responses * training.batch_size,
        },
        parameters={
            "total": count_numbers(parameters),
            "trained": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        },
        layout=found.policy.layout,
        reference=found.reference,
        memory=_memory(found.stages, accelerator.device),
        time=_time(found.stages, try_speed(accelerator.device, found.sizes, clock)) if has_training else None,
        notes=notes,
        left_out=found.left_out,
    )


def _memory(stages: Sequence[Stage], device: torch.device) -> Memory:
    peaks = {stage.name: stage.peak for stage in stages}
    plain, at_most = peaks.pop(UNWEIGHTED, 0), peaks.pop(CUT, 0)
    largest = max((stage for stage in stages if stage.name in peaks), key=lambda stage: stage.peak)
    return Memory(
        peak=largest.peak,
        at_most=max(largest.peak, at_most),
        during=largest.name,
        parts=largest.parts,
        stages=peaks,
        token_weights=max(0, peaks[LARGEST] - plain) if plain else 0,
        device=_bytes_of(device),
    )


def _bytes_of(device: torch.device) -> int:
    if device.type == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(torch.accelerator.get_memory_info(device)[1])


def _time(stages: Sequence[Stage], speed: Speed) -> Time:
    seconds: dict[str, float] = {}
    for stage in stages:
        if stage.times:
            seconds[stage.name] = speed.seconds([stage])
    total = sum(seconds.values())
    flops = sum(stage.times * stage.share * stage.flops for stage in stages)
    return Time(total, total / FACTOR, total * FACTOR, seconds, flops, speed)
