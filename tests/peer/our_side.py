"""alignkit's side of the comparison, through its engine: recipe, scoring, objective, and its loop for trajectories."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from engine_toy import gradients, objective, recipe, scoring, view_of
from peer.peer_cases import ORDER_SEED, Case, Trajectory
from peer.peer_inputs import make_model, make_policy
from torch import Tensor

from alignkit.data.rows import TokenRow
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.scoring import Scoring
from alignkit.loop.accelerator import make_accelerator
from alignkit.loop.config import TrainingConfig
from alignkit.loop.loop import train

MICRO_BATCH = 8
"""Smaller than the batch, where TRL takes the batch in one piece: it must not matter."""


@dataclass(frozen=True)
class Ours:
    """One step of alignkit.

    Attributes:
        loss: of the step.
        logged: metric -> mean over what it counts.
        gradients: parameter -> gradient, named as in the model itself.
        per_pair: rewards of each pair, by TRL's name; empty without pairs.
    """

    loss: float
    logged: dict[str, float]
    gradients: dict[str, Tensor]
    per_pair: dict[str, list[float]]


def make_step(case: Case, loss: dict[str, Any] | None = None, **sections: Any) -> ObjectiveStep:
    """The step of a case, with another loss when one is given; policy and reference as TRL got them."""
    model = {"name": "scratch", "reference_update": case.update}
    of = recipe([loss or case.loss], case.trainer, model=model, **sections)
    policy, reference = (make_model(), make_policy()) if case.swapped else (make_policy(), make_model())
    return objective(scoring(of, policy, reference if of.needs().reference else None), of)


def single_step(case: Case, rows: Sequence[TokenRow], loss: dict[str, Any] | None = None) -> Ours:
    """One optimizer step on all rows, in micro-batches whose losses and gradients add up."""
    step = make_step(case, loss)
    step.prepare(0, rows, {0: rows})
    totals = step.totals(rows)
    objective, parts = 0.0, []
    for start in range(0, len(rows), MICRO_BATCH):
        part, metrics = step.loss(rows[start : start + MICRO_BATCH], 0, totals)
        part.backward()
        objective += part.item()
        parts.append(metrics)
    names = {name for metrics in parts for name in metrics}
    sums = {
        name: [sum(column) for column in zip(*(m[name] for m in parts if name in m), strict=True)] for name in names
    }
    logged = {name: float(value / count) for name, (value, count) in sums.items() if count}
    found = gradients(step.scoring.policy.model)
    return Ours(objective, logged, found, _per_pair(step.scoring, rows) if case.trainer == "preference" else {})


@torch.no_grad()
def _per_pair(found: Scoring, rows: Sequence[TokenRow]) -> dict[str, list[float]]:
    view = view_of(found, rows)
    (loss,) = found.method.losses
    chosen_B, rejected_B = loss.rewards(view)
    return {"rewards/chosen": chosen_B.tolist(), "rewards/rejected": rejected_B.tolist()}


def trajectory(one: Trajectory, rows: Sequence[TokenRow], folder: Path) -> list[float]:
    """The loss of each optimizer step of alignkit's loop."""
    section = training(one, one.batch_size, one.batch_size // 2)
    return losses_of(make_step(one.case, training=section), rows, section, folder)


def training(one: Any, batch_size: int, micro_batch_size: int) -> dict[str, Any]:
    """A recipe's section for a trajectory."""
    beta1, beta2 = one.optimizer["betas"]
    return {
        "steps": one.steps,
        "batch_size": batch_size,
        "micro_batch_size": micro_batch_size,
        "learning_rate": one.learning_rate,
        "schedule": "constant",
        "warmup": 0.0,
        "optimizer": one.optimizer["name"],
        "betas": (beta1, beta2),
        "weight_decay": one.optimizer["weight_decay"],
        "max_grad_norm": one.optimizer["max_grad_norm"],
        "precision": "fp32",
    }


def losses_of(step: ObjectiveStep, rows: Sequence[TokenRow], section: dict[str, Any], folder: Path) -> list[float]:
    """The loss of each optimizer step of alignkit's loop, from its log."""
    config = TrainingConfig(**section)
    train(
        step,
        rows,
        config,
        seed=ORDER_SEED,
        folder=folder,
        accelerator=make_accelerator(config, folder),
        fingerprint={"data": "peer"},
        on_log=lambda number, line: None,
    )
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
