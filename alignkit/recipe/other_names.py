"""Names that other toolkits, papers and habit have for what a recipe says, and what to write instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from alignkit.errors import printable
from alignkit.registry import nearest_of

CALLED: Final[Mapping[str, str]] = {
    "lr": "training.learning_rate",
    "max_steps": "training.steps",
    "num_train_epochs": "training.epochs",
    "num_epochs": "training.epochs",
    "per_device_train_batch_size": "training.micro_batch_size",
    "train_batch_size": "training.batch_size",
    "global_batch_size": "training.batch_size",
    "per_device_eval_batch_size": "evaluation.batch_size",
    "eval_batch_size": "evaluation.batch_size",
    "warmup_ratio": "training.warmup",
    "lr_scheduler": "training.schedule",
    "lr_scheduler_type": "training.schedule",
    "optim": "training.optimizer",
    "adam_beta1": "training.betas",
    "adam_beta2": "training.betas",
    "gradient_clipping": "training.max_grad_norm",
    "logging_steps": "training.log_every",
    "save_steps": "training.save_every",
    "eval_steps": "training.eval_every",
    "save_total_limit": "training.keep_checkpoints",
    "report_to": "training.trackers",
    "log_with": "training.trackers",
    "max_seq_length": "data.max_length",
    "max_seq_len": "data.max_length",
    "sequence_len": "data.max_length",
    "cutoff_len": "data.max_length",
    "dataset": "data.train",
    "dataset_name": "data.train",
    "datasets": "data.train",
    "train_file": "data.train",
    "eval_dataset": "data.eval",
    "val_set_size": "data.holdout",
    "val_size": "data.holdout",
    "max_samples": "data.max_rows",
    "max_train_samples": "data.max_rows",
    "data.path": "data.train",
    "data.file": "data.train",
    "data.name": "data.train",
    "data.test": "data.eval",
    "data.validation": "data.eval",
    "base_model": "model.path",
    "model_name": "model.path",
    "model_name_or_path": "model.path",
    "tokenizer_name": "model.tokenizer",
    "torch_dtype": "model.dtype",
    "peft": "model.adapter",
    "peft_config": "model.adapter",
    "lora": "model.adapter",
    "lora_r": "model.adapter.rank",
    "lora_rank": "model.adapter.rank",
    "lora_alpha": "model.adapter.alpha",
    "lora_target": "model.adapter.targets",
    "lora_target_modules": "model.adapter.targets",
    "target_modules": "model.adapter.targets",
    "r": "model.adapter.rank",
    "loss": "losses",
    "loss_type": "losses.N.name",
    "beta": "losses.N.beta",
    "pref_beta": "losses.N.beta",
    "gamma": "losses.N.coefficient",
}
"""Key, or its whole path where it means this in one place only -> ours."""

_FOLDER = "the run folder is given on the command line: --output DIR"
_RESUME = "a stopped run goes on with --resume on the command line"
_LENGTH = "data.max_length bounds prompt and response together; data.on_overflow says which of them is cut"
_FOUR_BITS = "write model.quantize: nf4, with a model.adapter"
_EIGHT_BITS = "weights have 4 bits (model.quantize: nf4) or as many as model.dtype says"
_STEPS = "training.{} is a number of steps, or null"
_SHARDED = "write parallel.strategy: fsdp to cut the model into pieces, and start the processes with alignkit launch"
_LAUNCHED = "the command line says it: alignkit launch RECIPE --processes N, with --nodes on several machines"
_NO_OTHER_CUT = "a model is cut in one way only, parallel.strategy: fsdp; remove it"
_ONE_PROCESS = "rows are read and cut into tokens in one process; remove it"
_MOVING = "write model.reference_update: {every: 512, mix: 0.6}"
_HUB = "nothing is uploaded; the trained model is in final/ of the run folder"

INSTEAD: Final[Mapping[str, str]] = {
    "gradient_accumulation_steps": (
        "it follows from training.batch_size (examples per optimizer step) and training.micro_batch_size"
    ),
    "bf16": "write training.precision: bf16",
    "fp16": "training.precision is auto, fp32 or bf16",
    "ref_model": "model.reference says where the reference comes from",
    "precompute_ref_log_probs": "write model.reference: cache, or auto, which does so where it can",
    "sync_ref_model": _MOVING,
    "ref_model_sync_steps": _MOVING,
    "ref_model_mixup_alpha": _MOVING,
    "warmup_steps": "training.warmup is a share of the steps, such as 0.1",
    "use_peft": "give model.adapter, such as {rank: 16}",
    "use_lora": "give model.adapter, such as {rank: 16}",
    "lora_dropout": "adapters have no dropout here; remove it",
    "load_in_4bit": _FOUR_BITS,
    "load_in_8bit": _EIGHT_BITS,
    "quantization": _FOUR_BITS,
    "quantization_bit": _FOUR_BITS,
    "bnb_4bit_quant_type": _FOUR_BITS,
    "pure_bf16": "write training.parameters: bf16",
    "max_tokens_per_batch": "write training.micro_batch_tokens",
    "output_dir": _FOLDER,
    "overwrite_output_dir": _FOLDER,
    "run_name": "a run is called like its folder: --output DIR on the command line",
    "logging_dir": "what trackers write lies in the run folder: --output DIR on the command line",
    "resume": _RESUME,
    "resume_from_checkpoint": _RESUME,
    "max_prompt_length": _LENGTH,
    "max_completion_length": _LENGTH,
    "max_target_length": _LENGTH,
    "num_proc": _ONE_PROCESS,
    "dataset_num_proc": _ONE_PROCESS,
    "dataloader_num_workers": _ONE_PROCESS,
    "packing": "the rows of a step are packed where the model allows it (model.layout: auto); remove it",
    "eval_strategy": _STEPS.format("eval_every"),
    "evaluation_strategy": _STEPS.format("eval_every"),
    "save_strategy": _STEPS.format("save_every"),
    "logging_strategy": _STEPS.format("log_every"),
    "rpo_alpha": "add a loss: {name: nll, coefficient: 1.0}",
    "deepspeed": f"DeepSpeed is not driven here; {_SHARDED}",
    "fsdp": _SHARDED,
    "fsdp_config": _SHARDED,
    "num_processes": _LAUNCHED,
    "num_gpus": _LAUNCHED,
    "num_nodes": _LAUNCHED,
    "num_machines": _LAUNCHED,
    "tensor_parallel_size": _NO_OTHER_CUT,
    "pipeline_parallel_size": _NO_OTHER_CUT,
    "context_parallel_size": _NO_OTHER_CUT,
    "group_by_length": "rows of like lengths of a step go together anyway; remove it",
    "push_to_hub": _HUB,
    "hub_model_id": _HUB,
    "plugins": "a plugin is an installed package or a trusted file (alignkit plugins); name its component in its slot",
}
"""Key without a single counterpart -> what to do."""

_TIDPO = "TI-DPO is a recipe, recipes/tidpo.yaml: weighting 'hybrid' with the losses 'weighted_dpo' and 'triplet'"

_COMPONENTS: Final[Mapping[tuple[str, str], str]] = {
    ("loss", "tidpo"): _TIDPO,
    ("trainer", "tidpo"): _TIDPO,
    ("weighting", "tidpo"): _TIDPO,
    ("loss", "sigmoid"): "the name here is 'dpo'",
    ("loss", "rpo"): "RPO is a recipe, recipes/methods/rpo.yaml: the losses 'dpo' and 'nll'",
    ("weighting", "none"): "equal weights are 'uniform'",
    ("pair_weighting", "none"): "equal weights are 'uniform'",
}


def instead_of_component(kind: str, name: str, known: Collection[str]) -> str | None:
    """What may have been meant by a name that no component has.

    Args:
        kind: of the slot it stands in.
        name: as it was given.
        known: names of the components of this kind; one that is nearly `name` is left to be suggested.
    """
    if kind == "model" and name.startswith("stage:"):
        return f"the result of a stage is written {{name: pretrained, path: {printable(name)}}}"
    if ":" in name:
        return "a class of your own is a plugin, installed and named in its package (docs/add-a-weighting.md)"
    if kind == "model" and nearest_of(name, known) is None:
        return f"a folder or a model of the Hub is written {{name: pretrained, path: {printable(name)}}}"
    return _COMPONENTS.get((kind, name.lower().replace("-", "").replace("_", "")))
