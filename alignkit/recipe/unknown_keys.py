"""What to say about a key that does not exist where it stands."""

from __future__ import annotations

from collections.abc import Mapping

from alignkit.recipe.files import EXTENDS_KEY
from alignkit.recipe.parts import Part
from alignkit.recipe.tree import Node, Path, component_name, dotted, nearest
from alignkit.registry import suggestion

_CALLED = {
    "lr": "training.learning_rate",
    "max_steps": "training.steps",
    "num_train_epochs": "training.epochs",
    "num_epochs": "training.epochs",
    "per_device_train_batch_size": "training.micro_batch_size",
    "train_batch_size": "training.batch_size",
    "global_batch_size": "training.batch_size",
    "warmup_ratio": "training.warmup",
    "lr_scheduler_type": "training.schedule",
    "optim": "training.optimizer",
    "max_seq_length": "data.max_length",
    "max_seq_len": "data.max_length",
    "sequence_len": "data.max_length",
    "dataset": "data.train",
    "dataset_name": "data.train",
    "datasets": "data.train",
    "base_model": "model.path",
    "model_name_or_path": "model.path",
    "peft": "model.adapter",
    "lora": "model.adapter",
    "lora_r": "model.adapter.rank",
    "lora_alpha": "model.adapter.alpha",
    "r": "model.adapter.rank",
    "loss": "losses",
    "loss_type": "losses.N.name",
    "beta": "losses.N.beta",
    "gamma": "losses.N.coefficient",
}
"""Names that other toolkits or papers use -> ours."""

_INSTEAD = {
    "gradient_accumulation_steps": (
        "it follows from training.batch_size (examples per optimizer step) and training.micro_batch_size"
    ),
    "bf16": "write training.precision: bf16",
    "fp16": "training.precision is auto, fp32 or bf16",
    "ref_model": "model.reference says where the reference comes from",
}
"""Names of other toolkits that have no single counterpart -> what to do."""


def unknown_key(path: Path, root: Node, known: Mapping[Path, Part]) -> str:
    """One line about the unknown last key of `path`: where it belongs, or the nearest key that exists."""
    key = str(path[-1])
    part = known.get(path[:-1])
    if part is None:  # a plugin's own kind of mapping
        return "unknown key"
    siblings = _siblings(key, part)
    if siblings and part.registry:
        name = component_name(nearest(root, path[:-1])[0])
        return f"belongs to {_listed(siblings)}; {part.registry.kind} is '{name}'"
    if key in _INSTEAD:
        return f"unknown key; {_INSTEAD[key]}"
    if key in _CALLED:
        return f"unknown key; here it is called '{_CALLED[key]}'"
    homes = [other.path for other in known.values() if key in other.cls.model_fields and key != "name"]
    if homes:
        return _belongs_under(min(homes, key=len))
    keys = part.keys if path[:-1] else sorted([*part.keys, EXTENDS_KEY])
    return f"unknown key; {suggestion(key, keys, 'known keys')}"


def _siblings(key: str, part: Part) -> list[str]:
    """Other components that could stand in the slot and have this key."""
    if part.registry is None:
        return []
    return [name for name, cls in part.registry.classes().items() if key in cls.model_fields]


def _belongs_under(path: Path) -> str:
    return f"belongs under '{dotted(path)}'" if path else "belongs at the top level of the recipe"


def _listed(names: list[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
