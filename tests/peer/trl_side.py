"""TRL's side of the comparison; runs in an environment of its own: `python trl_side.py IN OUT`.

IN holds the folders `policy` and `reference` (weights and tokenizer) and `job.json` with rows, cases and trajectories.
OUT gets `values.json` and one `CASE.safetensors` of gradients per case. Numbers come from the trainers' own
`compute_loss`, on batches of the trainers' own data sets and collators, and trajectories from their `train()`. Trainers
that sample are given the responses and rewards, and do all else: advantages, old log-probs, loss, gradients.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", ACCELERATE_USE_CPU="true", TRL_EXPERIMENTAL_SILENCE="1")

import datasets
import torch
import transformers
import trl
from safetensors.torch import save_file
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.experimental.tpo import TPOConfig, TPOTrainer

ON_POLICY = {"GRPOTrainer": (trl.GRPOTrainer, trl.GRPOConfig), "RLOOTrainer": (trl.RLOOTrainer, trl.RLOOConfig)}
CONFIGS = {
    trl.DPOTrainer: trl.DPOConfig,
    trl.KTOTrainer: trl.KTOConfig,
    CPOTrainer: CPOConfig,
    ORPOTrainer: ORPOConfig,
    TPOTrainer: TPOConfig,
}
TRAINERS = {trainer.__name__: trainer for trainer in CONFIGS}
WITH_REFERENCE = ("DPOTrainer", "KTOTrainer")
KEPT = ("kl", "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean", "cispo_clip_ratio")

COLUMNS = {
    "DPOTrainer": ("prompt", "chosen", "rejected"),
    "CPOTrainer": ("prompt", "chosen", "rejected"),
    "ORPOTrainer": ("prompt", "chosen", "rejected"),
    "TPOTrainer": ("prompt", "chosen", "rejected", "reference"),
    "KTOTrainer": ("prompt", "completion", "label"),
}


def main(job_folder: Path, out: Path) -> None:
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    job = json.loads((job_folder / "job.json").read_text())
    values: dict[str, Any] = {"versions": versions(), "cases": {}, "trajectories": {}}
    for case in job["cases"]:
        rows = job["rows"][case["rows"]]
        values["cases"][case["name"]], gradients = single_step(job_folder, case, rows)
        save_file(gradients, out / f"{case['name']}.safetensors")
    for trajectory in job["trajectories"]:
        rows = job["rows"][trajectory["case"]["rows"]]
        values["trajectories"][trajectory["name"]] = train(job_folder, trajectory, rows)
    values["rollouts"] = {}
    for case in job["rollouts"]["cases"]:
        values["rollouts"][case["name"]], gradients = step_on_rollouts(job_folder, case, job["rollouts"])
        save_file(gradients, out / f"{case['name']}.safetensors")
    for one in job["rollouts"]["trajectories"]:
        how = {"max_steps": one["steps"], "shuffle_dataset": False, **optimizing(one)}
        trainer = make_sampler(job_folder, one["case"], job["rollouts"], **how)
        values["trajectories"][one["name"]] = losses_of(trainer, one["steps"])
    (out / "values.json").write_text(json.dumps(values))


def versions() -> dict[str, str]:
    names = ("trl", "torch", "transformers", "accelerate", "datasets", "tokenizers")
    return {name: importlib.metadata.version(name) for name in names}


def load(folder: Path, dtype: torch.dtype = torch.float32) -> transformers.PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def make_trainer(
    job_folder: Path, case: dict[str, Any], rows: list[dict[str, Any]], batch_size: int, **arguments: Any
) -> Any:
    """TRL's trainer of a case, on the texts of `rows` in this order, in float32 on the CPU."""
    kind = TRAINERS[case["peer"]]
    config = CONFIGS[kind](
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=batch_size,
        train_sampling_strategy="sequential",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        max_length=512,
        disable_dropout=True,
        **case["arguments"],
        **arguments,
    )
    columns = {name: [row[name] for row in rows] for name in COLUMNS[case["peer"]]}
    policy, reference = ("reference", "policy") if case["swapped"] else ("policy", "reference")
    models = {"model": load(job_folder / policy)}
    if case["peer"] in WITH_REFERENCE:
        models["ref_model"] = load(job_folder / reference)
    trainer = kind(
        **models,
        args=config,
        train_dataset=datasets.Dataset.from_dict(columns),
        processing_class=transformers.AutoTokenizer.from_pretrained(job_folder / "policy"),
    )
    check_tokens(trainer.train_dataset, rows)
    trainer.model.train()  # there is no dropout to switch on, and the trainers log under "train"
    return trainer


def check_tokens(dataset: datasets.Dataset, rows: list[dict[str, Any]]) -> None:
    """TRL's tokens of the texts are the given ones, so that only losses are compared."""
    for found, row in zip(dataset, rows, strict=True):
        for side, ids in row["ids"].items():
            whole = [*row["ids"]["prompt"], *ids]
            if side == "prompt":
                continue
            if f"{side}_input_ids" in found:
                assert found[f"{side}_input_ids"] == whole, (side, row)
                assert found[f"{side}_labels"] == [-100] * len(row["ids"]["prompt"]) + ids, (side, row)
            elif f"{side}_ids" in found:
                assert found["prompt_ids"] + found[f"{side}_ids"] == whole, (side, row)
                assert found[f"{side}_ids"] == ids, (side, row)


def compute_loss(trainer: Any, rows: list[dict[str, Any]]) -> tuple[torch.Tensor, dict[str, float]]:
    """The trainer's loss of these rows of its data set as one batch, and what it logged for them."""
    logged = trainer._metrics if hasattr(trainer, "_metrics") else trainer._stored_metrics
    logged["train"].clear()
    batch = trainer._prepare_inputs(trainer.data_collator(rows))
    loss = trainer.compute_loss(trainer.model, batch)
    return loss, {name: one[-1] for name, one in logged["train"].items()}


def single_step(
    job_folder: Path, case: dict[str, Any], rows: list[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Loss, logged rewards and gradients of one step on all rows; of pairs also each one's loss and rewards."""
    trainer = make_trainer(job_folder, case, rows, batch_size=len(rows))
    whole = list(trainer.train_dataset)
    loss, logged = compute_loss(trainer, whole)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in trainer.model.named_parameters()}
    kept = ("rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected", "kl")
    values: dict[str, Any] = {"loss": loss.item(), **{name: logged[name] for name in kept if name in logged}}
    if case["peer"] != "KTOTrainer":  # its baseline needs the batch
        with torch.no_grad():
            alone = [compute_loss(trainer, [row]) for row in whole]
        values["per_pair"] = {"loss": [loss.item() for loss, _ in alone]}
        for name in ("rewards/chosen", "rewards/rejected"):
            values["per_pair"][name] = [logged[name] for _, logged in alone]
    return values, gradients


def train(job_folder: Path, trajectory: dict[str, Any], rows: list[dict[str, Any]]) -> list[float]:
    """The loss of each optimizer step of the trainer's own loop; the data set is in the order of the batches."""
    ordered = [rows[place] for batch in trajectory["batches"] for place in batch]
    size = len(trajectory["batches"][0])
    how = {"batch_size": size, "num_train_epochs": 1, **optimizing(trajectory)}
    return losses_of(make_trainer(job_folder, trajectory["case"], ordered, **how), len(trajectory["batches"]))


def optimizing(trajectory: dict[str, Any]) -> dict[str, Any]:
    """The arguments of AdamW at a constant rate."""
    beta1, beta2 = trajectory["optimizer"]["betas"]
    return {
        "learning_rate": trajectory["learning_rate"],
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch",
        "adam_beta1": beta1,
        "adam_beta2": beta2,
        "weight_decay": trajectory["optimizer"]["weight_decay"],
        "max_grad_norm": trajectory["optimizer"]["max_grad_norm"],
        "logging_strategy": "no",
    }


def losses_of(trainer: Any, steps: int) -> list[float]:
    """What the trainer's `train()` computes at each of its optimizer steps."""
    losses: list[float] = []
    plain = trainer.compute_loss

    def recording(*positional: Any, **named: Any) -> torch.Tensor:
        loss = plain(*positional, **named)
        losses.append(loss.item())
        return loss

    trainer.compute_loss = recording
    trainer.train()
    assert len(losses) == steps
    return losses


# --- on responses ---


def step_on_rollouts(
    job_folder: Path, case: dict[str, Any], rollouts: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Loss, advantages, metrics and gradients of the last step on given responses, by the trainer's `training_step`."""
    trainer = make_sampler(job_folder, case, rollouts)
    parts = trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    texts = [{"prompt": text} for text, group in zip(rollouts["texts"], rollouts["ids"], strict=True) for _ in group]
    trainer.model.train()
    trainer._prepare_inputs(texts)
    if case["updates"] > 1:  # the responses are trained on again, after the policy has moved
        trainer._step = parts
        trainer.model.load_state_dict(load(job_folder / f"moved_{case['moved']}").state_dict())
    loss = sum(trainer.training_step(trainer.model, texts, None) for _ in range(parts))
    logged = trainer._metrics["train"]
    values = {name: sum(logged[name]) / parts for name in KEPT if name in logged}
    gradients = {name: p.grad.float() for name, p in trainer.model.named_parameters()}
    return {"loss": loss.item(), "advantages": list(trainer._logs["advantages"]), **values}, gradients


def make_sampler(job_folder: Path, case: dict[str, Any], rollouts: dict[str, Any], **how: Any) -> Any:
    """TRL's trainer of a case in float64, which draws the given responses and rewards them as given."""
    kind, config = ON_POLICY[case["peer"]]
    responses = [ids for group in rollouts["ids"] for ids in group]
    arguments = {"gradient_accumulation_steps": 1, **case["arguments"]}
    trainer = kind(
        model=load(job_folder / "policy", torch.float64),
        reward_funcs=lambda completion_ids, **columns: case["rewards"],
        args=config(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=len(responses) // arguments["gradient_accumulation_steps"],
            num_generations=len(rollouts["ids"][0]),
            num_iterations=case["updates"],
            max_completion_length=rollouts["longest"],
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **arguments,
            **how,
        ),
        train_dataset=datasets.Dataset.from_dict({"prompt": rollouts["texts"]}),
        processing_class=transformers.AutoTokenizer.from_pretrained(job_folder / "policy"),
    )
    if trainer.ref_model is not None:
        trainer.ref_model.double().load_state_dict(load(job_folder / "reference").state_dict())

    def given(prompt_ids: list[list[int]], *rest: Any) -> Any:
        wanted = zip(rollouts["prompt_ids"], rollouts["ids"], strict=True)
        assert prompt_ids == [ids for ids, group in wanted for _ in group]
        return (responses, None) if case["peer"] == "GRPOTrainer" else responses

    score = trainer._get_per_token_logps_and_entropies

    def precise(*positional: Any, **named: Any) -> tuple[torch.Tensor, ...]:
        logps, *others = score(*positional, **named)
        return logps.double(), *others

    trainer._generate_single_turn = given
    trainer._get_per_token_logps_and_entropies = precise  # it gives float32, whose sums over a response are rough
    return trainer


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
