"""TRL's trainers on the same batches, in TRL's environment: its own training loop, and what serves it best.

That is: reference log-probs precomputed, no recomputation of activations (its default is on) where memory allows, its
fused AdamW; on a GPU FlashAttention 2 and the kernels of liger-kernel where they are installed. Its option
`padding_free` falls back to padding in TRL 1.16.
"""

from __future__ import annotations

import importlib.util
import tempfile
from typing import Any

import datasets
import peft
import torch
import transformers
import trl

from pricing.job import GROUP, Job, Row
from pricing.models import load
from pricing.turns import Turns


class KeepsLoss:
    """Remembers the loss of a step."""

    last: torch.Tensor

    def training_step(self, *args: Any, **options: Any) -> torch.Tensor:
        self.last = super().training_step(*args, **options)
        return self.last


class DPO(KeepsLoss, trl.DPOTrainer):
    """Takes token ids, and reference log-probs that are made up, as they are."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *rest: Any) -> Any:
        return dataset if "ref_chosen_logps" in dataset.column_names else super()._precompute_ref_logps(dataset, *rest)


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
    if not job.is_real:
        columns |= {f"ref_{name}_logps": [-8.0 * len(row[name]) for row in rows] for name in ("chosen", "rejected")}
    config = trl.DPOConfig(
        per_device_train_batch_size=job.pairs,
        train_sampling_strategy="sequential",
        precompute_ref_log_probs=True,
        max_length=None,
        beta=0.1,
        **common(job, turns),
    )
    reference = load(job, "reference") if job.is_real else None
    train(DPO(ref_model=reference, **given(config, columns, job)), turns)


def grpo(job: Job, turns: Turns) -> None:
    """The same on its own samples, without KL."""
    rows = [row for step in range(turns.steps) for row in job.batch(step)]
    config = trl.GRPOConfig(
        per_device_train_batch_size=job.pairs * GROUP,
        num_generations=GROUP,
        max_completion_length=job.longest,
        shuffle_dataset=False,
        loss_type="grpo",
        beta=0.0,
        **common(job, turns),
    )
    columns = {"prompt": [str(place) for place in range(len(rows))]}
    trainer = GRPO(reward_funcs=rewards, **given(config, columns, job))
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
        "gradient_checkpointing": job.recomputes,
        "bf16": job.device != "cpu",
        "use_cpu": job.device == "cpu",
        "use_liger_kernel": job.device != "cpu" and importlib.util.find_spec("liger_kernel") is not None,
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
    model = load(job, "policy")
    if job.device != "cpu" and importlib.util.find_spec("flash_attn") is not None:
        model.set_attn_implementation("flash_attention_2")
    return {
        "model": model,
        "args": config,
        "train_dataset": datasets.Dataset.from_dict(columns),
        "processing_class": transformers.AutoTokenizer.from_pretrained(job.folder / "policy"),
        "peft_config": lora() if job.lora else None,
    }


def lora() -> Any:
    """The adapter that alignkit trains."""
    return peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def train(trainer: Any, turns: Turns) -> None:
    """TRL's own training, step by step."""
    waiting = Waiting(turns)
    waiting.trainer = trainer
    trainer.add_callback(waiting)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    trainer.train()
