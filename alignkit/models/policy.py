"""From a model source to the policy: adapter, precision of the trained parameters, dropout off, layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from alignkit.data.rows import TokenRow
from alignkit.errors import CheckpointError, ModelError
from alignkit.lazy import peft, safetensors, safetensors_torch, torch, transformers
from alignkit.models.attention import NAME
from alignkit.models.base import LoRA, ModelSource
from alignkit.models.layout import Batch, Example, Layout, collate
from alignkit.models.lengths import Longest, notes_on_length, obstacle_of_window, require_length
from alignkit.models.loading import loading
from alignkit.models.probe import (
    find_transform,
    obstacle_to_packing,
    obstacle_to_sharing,
    require_causal,
    require_steady,
)
from alignkit.models.scorer import Scorer, causal_lm
from alignkit.parallel.sharding import ModelState, full_state
from alignkit.parallel.tensors import device_of
from alignkit.records.files import staged

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from alignkit.models.scorer import Model

Parameters = Literal["fp32", "bf16"]

LOGITS = 2**26
"""Logits that exist at once where a recipe leaves it open; 256 MiB."""


@dataclass(frozen=True)
class Policy:
    """The model in training.

    Attributes:
        scorer: the trained module.
        layout: how examples are laid out for it.
        tokenizer: its tokenizer.
        has_adapter: True when a peft adapter is trained.
        template_end: id that ends the responses of the data; None where that is EOS.
        notes: what the user should know of the model, a line each.
    """

    scorer: Scorer
    layout: Layout
    tokenizer: PreTrainedTokenizerBase
    has_adapter: bool
    template_end: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> Model:
        """The bare model, for generation and saving."""
        return self.scorer.model

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return device_of(next(self.scorer.parameters()))

    @property
    def eos_id(self) -> int:
        """Serves as padding, which is masked everywhere."""
        return int(self.tokenizer.eos_token_id)

    @property
    def end_id(self) -> int:
        """Ends a sampled response, as it ends those of the data: the chat template's end of turn, else EOS."""
        return self.eos_id if self.template_end is None else self.template_end

    def batch(self, rows: Sequence[TokenRow], extra: Sequence[ndarray] = ()) -> Batch:
        """Lays out rows, with one more response for each when given (the anchors)."""
        thirds = [[response] for response in extra] or [[] for _ in rows]
        examples = [
            Example(row.prompt, [*row.responses.values(), *third]) for row, third in zip(rows, thirds, strict=True)
        ]
        return self.collate(examples)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Lays out examples."""
        return collate(examples, self.layout, self.eos_id, self.device)

    def state(self) -> ModelState:
        """What `save` and `write` need of a model that is cut into pieces, in the main process; every process takes
        part. None where it is whole."""
        found = full_state(self.scorer, trained_only=self.has_adapter)
        return None if found is None else {name.removeprefix("model."): value for name, value in found.items()}

    def save(self, folder: Path, state: ModelState = None) -> None:
        """Writes model or adapter and tokenizer durably; whole or not at all, as another run may wait for the folder.

        Args:
            folder: where to.
            state: of `state`.

        Raises:
            RunFolderError: the disk is full, read-only or gone; an older folder of that name is untouched.
        """
        with staged(folder) as staging:
            self.write(staging, state)

    def write(self, folder: Path, state: ModelState = None) -> None:
        """Writes model or adapter and tokenizer; `state` is that of `state`."""
        if isinstance(self.model, peft.PeftModel):  # without the frozen copy of the adapter it started from
            self.model.save_pretrained(str(folder), selected_adapters=[self.model.active_adapter], state_dict=state)
        else:
            self.model.save_pretrained(folder, state_dict=state)
        self.tokenizer.save_pretrained(folder)

    def stored_parameters(self, folder: Path) -> dict[str, Tensor]:
        """The trained parameters in what `write` wrote.

        Returns:
            Name in the scorer -> value, CPU, in the number format they were written in.

        Raises:
            CheckpointError: the folder cannot be loaded.
        """
        try:
            stored = self._stored_adapter(folder) if isinstance(self.model, peft.PeftModel) else _stored_model(folder)
        except (OSError, ValueError, RuntimeError, KeyError, safetensors.SafetensorError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{folder}: cannot be loaded: {reason}") from None
        frozen = {name for name, parameter in self.model.named_parameters() if not parameter.requires_grad}
        return {f"model.{name}": value for name, value in stored.items() if name not in frozen}

    def _stored_adapter(self, folder: Path) -> dict[str, Tensor]:
        """By the names that peft gives them in a file, which leave out the adapter's own name."""
        model = self.model
        names = [name for name, _ in model.named_parameters()]
        numbered = {name: torch.tensor(number) for number, name in enumerate(names)}
        named = peft.get_peft_model_state_dict(model, numbered, adapter_name=str(model.active_adapter))
        stored = safetensors_torch.load_file(folder / "adapter_model.safetensors")
        return {names[int(number)]: stored[key] for key, number in named.items()}


def _stored_model(folder: Path) -> dict[str, Tensor]:
    """By transformers, which knows how names in a file differ from those in a model."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def build_policy(
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int,
    separate: bool,
    device: torch.device,
    template_end: int | None = None,
    longest: Longest | None = None,
    parameters: Parameters = "fp32",
) -> Policy:
    """Loads the model of `source` and makes it ready for training.

    Args:
        source: the recipe's `model`.
        tokenizer: from the same source.
        seed: the run's seed.
        separate: a component cannot share the prompt (`scope: full_sequence`).
        device: where the model goes.
        template_end: id that ends the responses of the data; None where that is EOS.
        longest: what the rows will need; None when it is not known, or was checked before.
        parameters: number format of the trained ones.

    Raises:
        ModelError: the model cannot be loaded, or is not one that alignkit scores exactly: it is not causal, changes
            its logits in an unknown way, has fewer positions than the rows need, or dropout that cannot be switched
            off.
    """
    scorer = trainable_scorer(source, source.load_model(tokenizer, seed), seed, parameters).to(device)
    model = scorer.model
    if longest is not None:
        require_length(causal_lm(model), longest)
    scorer.transform = find_transform(scorer)
    require_causal(scorer)
    if source.gradient_checkpointing:
        checkpoint_activations(scorer)
        require_steady(scorer)
    layout = choose_layout(scorer, source.layout, separate=separate, longest=longest)
    notes = [] if longest is None else notes_on_length(causal_lm(model), longest)
    if source.adapter is not None and source.adapter.targets == "all-linear":
        notes += notes_on_adapter(model)
    return Policy(scorer, layout, tokenizer, isinstance(model, peft.PeftModel), template_end, tuple(notes))


def trainable_scorer(source: ModelSource, model: Model, seed: int, parameters: Parameters = "fp32") -> Scorer:
    """Adapter, precision of the trained parameters, dropout off: the module that is trained, in evaluation mode.

    Args:
        source: the recipe's `model`.
        model: what the source gave.
        seed: the run's seed.
        parameters: number format of the trained ones.

    Raises:
        ModelError: it cannot be trained so.
    """
    if source.adapter is not None:
        if isinstance(model, peft.PeftModel):
            raise ModelError(
                "model.adapter: the model is an adapter folder already; leave 'adapter' out to train it on"
            )
        model = _with_adapter(model, source.adapter, seed)
    _prepare_parameters(model, parameters)
    switch_off_dropout(model)
    _require_plain_head(model)
    return Scorer(model, head_chunk(source.head_chunk, model)).eval()


def head_chunk(wanted: int | Literal["auto"], model: Model) -> int:
    """Response tokens whose logits exist at once; it hangs on the vocabulary alone, so that the bits do not change with
    the memory that happens to be free."""
    vocabulary = int(causal_lm(model).config.get_text_config().vocab_size)
    return max(1, LOGITS // vocabulary) if wanted == "auto" else wanted


def checkpoint_activations(scorer: Scorer) -> None:
    """Has the model's layers recompute their activations in the backward pass."""
    language_model = causal_lm(scorer.model)  # transformers 5.23 renamed the method and warns of the old name
    name = "activation" if hasattr(language_model, "activation_checkpointing_enable") else "gradient"
    getattr(language_model, f"{name}_checkpointing_enable")({"use_reentrant": False})
    scorer.train()  # transformers checkpoints in training mode only


def _with_adapter(model: PreTrainedModel, adapter: LoRA, seed: int) -> peft.PeftModel:
    targets = adapter.targets if isinstance(adapter.targets, str) else list(adapter.targets)
    config = peft.LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with loading("model.adapter.targets"):
            return peft.get_peft_model(model, config)


def notes_on_adapter(model: Model) -> list[str]:
    """Which weights have an adapter and which have none, where "all linear layers" is not all or needs saying.

    In a mixture of experts the experts lie in one tensor that is no linear layer, the router may be one, and peft
    resolves either in its own way.
    """
    tuned = {
        name for name, module in model.named_modules() if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer)
    }
    inside = tuple(f"{name}." for name in tuned)
    head = causal_lm(model).get_output_embeddings()
    left, has_experts = set(), False
    for name, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            is_linear = isinstance(module, torch.nn.Linear) and own == "weight" and module is not head
            is_stack = sum(size > 1 for size in parameter.shape) > 2 and not isinstance(module, torch.nn.Conv1d)
            has_experts |= is_stack
            if (is_linear or is_stack) and not name.startswith(inside):
                left.add(_in_layer(name if is_linear else f"{name}.{own}"))
    if not left and not has_experts:
        return []
    adapted = sorted({_in_layer(name) for name in tuned if not name.endswith(".base_layer")})
    rest = f"; none on {', '.join(sorted(left))}" if left else ""
    return [f"adapter on {', '.join(adapted)}{rest}"]


def _in_layer(name: str) -> str:
    """The name of a module within its layer: `mlp.gate` of `model.layers.3.mlp.gate`."""
    return re.sub(r"^.*?\.\d+\.", "", name)


def switch_off_dropout(model: Model) -> None:
    """Dropout, skipped layers and router noise off for good, in training mode too: importances and the step-0 check
    rely on it. Some models (Falcon) read the probability from their configuration in each forward pass."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for owner in (module, getattr(module, "config", None)):
            for name, value in list(vars(owner).items()) if owner is not None else ():
                is_noise = "dropout" in name or "layerdrop" in name or "pdrop" in name or name in _JITTER
                if is_noise and isinstance(value, float):
                    setattr(owner, name, 0.0)


_JITTER = ("jitter_noise", "input_jitter_noise", "moe_jitter_eps")
"""What modules call the noise of a router in training mode. Not PhiMoE's `router_jitter_noise`: it is a threshold."""


def _require_plain_head(model: Model) -> None:
    """Refuses an adapter on the LM head: policy and reference share that module and run it one inside the other."""
    head = causal_lm(model).get_output_embeddings()
    if isinstance(head, (peft.tuners.tuners_utils.BaseTunerLayer, peft.utils.AuxiliaryTrainingWrapper)):
        raise ModelError(
            "model.adapter: the LM head has an adapter, which cannot be told from the reference's head; "
            "leave the head out of the adapter's targets"
        )


def _prepare_parameters(model: Model, parameters: Parameters) -> None:
    """Trained parameters in float32: a bf16 weight near 1 cannot move by less than 0.004, so small steps get lost;
    or in bf16, for an optimizer that keeps what is lost."""
    dtype = torch.bfloat16 if parameters == "bf16" else torch.float32
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def choose_layout(scorer: Scorer, wanted: str, *, separate: bool, longest: Longest | None = None) -> Layout:
    """`packed` where the model's attention can be told what to look at, else `shared` where it takes such a mask, both
    tried on a few tokens; `separate` otherwise.

    Args:
        scorer: a model that has passed the other checks.
        wanted: the recipe's `model.layout`.
        separate: a component cannot share the prompt.
        longest: what the rows need; None when it is not known.

    Raises:
        ModelError: `packed` or `shared` was asked for and the model cannot.
    """
    if separate or wanted == "separate":
        return "separate"
    if wanted != "shared":
        obstacle = obstacle_to_packing(scorer, longest)
        if obstacle is None:
            return "packed"
    if wanted != "packed":
        obstacle = known_obstacle_to_sharing(scorer, longest) or obstacle_to_sharing(scorer)
        if obstacle is None:
            return "shared"
    if wanted != "auto":
        raise ModelError(f"model.layout: {wanted} rows do not work with this model: {obstacle}; use auto or separate")
    return "separate"


def known_obstacle_to_sharing(scorer: Scorer, longest: Longest | None) -> str | None:
    """Why a model's configuration keeps responses apart; None where it does not, and only trying tells the rest."""
    config = causal_lm(scorer.model).config.get_text_config()
    if config._attn_implementation not in ("sdpa", "eager", NAME):
        return f"{config._attn_implementation} attention takes no custom mask"
    return obstacle_of_window(config, None if longest is None else longest.shared)
