"""TRL's DPOTrainer on the same batches, in TRL's environment: its own training loop and what serves it best on a CPU.

That is: reference log-probs precomputed, no recomputation of activations (its default is on), float32, its fused AdamW. Its
option `padding_free` falls back to padding in TRL 1.16, and liger-kernel has no kernels for CPUs.
"""

from __future__ import annotations

import tempfile
from typing import Any

import datasets
import torch
import transformers
import trl

from pricing.job import BATCH, Job
from pricing.turns import Turns


class Trainer(trl.DPOTrainer):
    """Takes token ids as they are, and keeps the loss of a step."""

    last: torch.Tensor

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def training_step(self, *args: Any, **options: Any) -> torch.Tensor:
        self.last = super().training_step(*args, **options)
        return self.last


class Waiting(transformers.TrainerCallback):
    """Waits at the boundaries of steps."""

    trainer: Trainer

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.turns.ready()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.turns.done(self.trainer.last.item())


def run(job: Job, turns: Turns) -> None:
    """Trains for as long as there are turns."""
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    config = trl.DPOConfig(
        output_dir=tempfile.mkdtemp(dir=job.folder),
        per_device_train_batch_size=BATCH,
        max_steps=turns.steps,
        train_sampling_strategy="sequential",
        precompute_ref_log_probs=True,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        max_length=None,
        beta=0.1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    rows = [row for step in range(turns.steps) for row in job.batch(step)]
    columns = {f"{name}_ids": [row[name] for row in rows] for name in ("prompt", "chosen", "rejected")}
    waiting = Waiting(turns)
    models = [transformers.AutoModelForCausalLM.from_pretrained(job.folder / name) for name in ("policy", "reference")]
    trainer = Trainer(
        model=models[0],
        ref_model=models.pop(),
        args=config,
        train_dataset=datasets.Dataset.from_dict(columns),
        processing_class=transformers.AutoTokenizer.from_pretrained(job.folder / "policy"),
        callbacks=[waiting],
    )
    waiting.trainer = trainer
    trainer.train()
