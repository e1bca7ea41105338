"""TRL's trainers on the same batches, in TRL's environment: its own training loop and what serves it best on a CPU.

That is: reference log-probs precomputed, no recomputation of activations (its default is on), float32, its fused AdamW.
Its option `padding_free` falls back to padding in TRL 1.16, and liger-kernel has no kernels for CPUs.
"""

from __future__ import annotations

import tempfile
from typing import Any

import datasets
import torch
import transformers
import trl

from pricing.job import GROUP, LONGEST, Job, Row
from pricing.turns import Turns


class KeepsLoss:
    """Remembers the loss of a step."""

    last: torch.Tensor

    def training_step(self, *args: Any, **options: Any) -> torch.Tensor:
        self.last = super().training_step(*args, **options)
        return self.last


class DPO(KeepsLoss, trl.DPOTrainer):
    """Takes token ids as they are."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


class GRPO(KeepsLoss, trl.GRPOTrainer):
    """Takes token ids in the place of texts: a prompt is the number of its row."""

    rows: list[Row]

    def _tokenize_prompts(self, prompts: list[str]) -> Any:
        return [self.rows[int(prompt)]["prompt"] for prompt in prompts], None, {}


class Waiting(transformers.TrainerCallback):
    """Waits at the boundaries of steps."""

    trainer: Any

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.turns.ready()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.turns.done(self.trainer.last.item())


def dpo(job: Job, turns: Turns) -> None:
    """Trains for as long as there are turns, with reference log-probs that were computed before."""
    rows = [row for step in range(turns.steps) for row in job.batch(step)]
    columns = {f"{name}_ids": [row[name] for row in rows] for name in ("prompt", "chosen", "rejected")}
    config = trl.DPOConfig(
        per_device_train_batch_size=job.pairs,
        train_sampling_strategy="sequential",
        precompute_ref_log_probs=True,
        max_length=None,
        beta=0.1,
        **common(job, turns),
    )
    trainer = DPO(model=load(job, "policy"), ref_model=load(job, "reference"), **given(config, columns, job))
    train(trainer, turns)


def grpo(job: Job, turns: Turns) -> None:
    """The same on its own samples, without KL."""
    rows = [row for step in range(turns.steps) for row in job.batch(step)]
    config = trl.GRPOConfig(
        per_device_train_batch_size=job.pairs * GROUP,
        num_generations=GROUP,
        max_completion_length=LONGEST,
        shuffle_dataset=False,
        loss_type="grpo",
        beta=0.0,
        **common(job, turns),
    )
    columns = {"prompt": [str(place) for place in range(len(rows))]}
    trainer = GRPO(model=load(job, "policy"), reward_funcs=rewards, **given(config, columns, job))
    trainer.rows = rows
    train(trainer, turns)


def rewards(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """As alignkit is given them."""
    return [float(sum(ids) % 97) / 97 for ids in completion_ids]


def common(job: Job, turns: Turns) -> dict[str, Any]:
    """What both trainers are told."""
    return {
        "output_dir": tempfile.mkdtemp(dir=job.folder),
        "max_steps": turns.steps,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def given(config: Any, columns: dict[str, list[Any]], job: Job) -> dict[str, Any]:
    """What both trainers are made with."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.folder / "policy")
    return {"args": config, "train_dataset": datasets.Dataset.from_dict(columns), "processing_class": tokenizer}


def load(job: Job, name: str) -> transformers.PreTrainedModel:
    """One of the job's models."""
    return transformers.AutoModelForCausalLM.from_pretrained(job.folder / name, dtype=torch.float32)


def train(trainer: Any, turns: Turns) -> None:
    """TRL's own training, step by step."""
    waiting = Waiting(turns)
    waiting.trainer = trainer
    trainer.add_callback(waiting)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    trainer.train()
