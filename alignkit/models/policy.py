"""From a model source to the policy: adapter, precision of the trained parameters, dropout off, layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alignkit.data.rows import TokenRow
from alignkit.errors import CheckpointError, ModelError
from alignkit.files import clear, discard, one_line, publish
from alignkit.lazy import numpy as np
from alignkit.lazy import peft, safetensors, safetensors_torch, torch, transformers
from alignkit.models.base import LoRA, ModelSource
from alignkit.models.layout import Batch, Example, Layout, collate
from alignkit.models.scorer import Scorer, Want, causal_lm

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from alignkit.models.scorer import Model


@dataclass(frozen=True)
class Policy:
    """The model in training.

    Attributes:
        scorer: the trained module.
        layout: how examples are laid out for it.
        tokenizer: its tokenizer.
        has_adapter: True when a peft adapter is trained.
    """

    scorer: Scorer
    layout: Layout
    tokenizer: PreTrainedTokenizerBase
    has_adapter: bool

    @property
    def model(self) -> Model:
        """The bare model, for generation and saving."""
        return self.scorer.model

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.scorer.parameters()).device

    @property
    def eos_id(self) -> int:
        """Ends a response; also serves as padding, which is masked everywhere."""
        return int(self.tokenizer.eos_token_id)

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

    def save(self, folder: Path) -> None:
        """Writes model or adapter and tokenizer durably; whole or not at all, as another run may wait for the folder.

        Raises:
            RunFolderError: the disk is full, read-only or gone; an older folder of that name is untouched.
        """
        staging = folder.with_name(f".{folder.name}.tmp")
        try:
            with one_line(folder):
                clear(staging)
                self.write(staging)
        except BaseException:
            discard(staging)
            raise
        publish(staging, folder)

    def write(self, folder: Path) -> None:
        """Writes model or adapter and tokenizer."""
        if isinstance(self.model, peft.PeftModel):  # without the frozen copy of the adapter it started from
            self.model.save_pretrained(str(folder), selected_adapters=[self.model.active_adapter])
        else:
            self.model.save_pretrained(folder)
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
        named = peft.get_peft_model_state_dict(model, adapter_name=str(model.active_adapter))
        names = {value.data_ptr(): name for name, value in model.named_parameters()}
        stored = safetensors_torch.load_file(folder / "adapter_model.safetensors")
        return {names[value.data_ptr()]: stored[key] for key, value in named.items() if value.data_ptr() in names}


def _stored_model(folder: Path) -> dict[str, Tensor]:
    """By transformers, which knows how names in a file differ from those in a model."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def build_policy(
    source: ModelSource, tokenizer: PreTrainedTokenizerBase, *, seed: int, separate: bool, device: torch.device
) -> Policy:
    """Loads the model of `source` and makes it ready for training.

    Args:
        source: the recipe's `model`.
        tokenizer: from the same source.
        seed: the run's seed.
        separate: a component cannot share the prompt (`scope: full_sequence`).
        device: where the model goes.

    Raises:
        ModelError: the model cannot be loaded, has dropout that cannot be switched off, or changes its logits behind
            the head.
    """
    model: Model = source.load_model(tokenizer, seed)
    if source.adapter is not None:
        if isinstance(model, peft.PeftModel):
            raise ModelError(
                "model.adapter: the model is an adapter folder already; leave 'adapter' out to train it on"
            )
        model = _with_adapter(model, source.adapter, seed)
    _prepare_parameters(model)
    switch_off_dropout(model)
    _require_plain_head(model)
    scorer = Scorer(model, source.head_chunk).to(device)
    scorer.eval()
    layout = choose_layout(scorer, source.layout, separate=separate)
    if source.gradient_checkpointing:
        language_model = causal_lm(model)  # transformers 5.23 renamed the method and warns of the old name
        name = "activation" if hasattr(language_model, "activation_checkpointing_enable") else "gradient"
        getattr(language_model, f"{name}_checkpointing_enable")({"use_reentrant": False})
        scorer.train()  # transformers checkpoints in training mode only
    return Policy(scorer, layout, tokenizer, isinstance(model, peft.PeftModel))


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
        try:
            return peft.get_peft_model(model, config)
        except ValueError as error:
            raise ModelError(f"model.adapter.targets: {error}".splitlines()[0]) from error


def switch_off_dropout(model: Model) -> None:
    """Dropout off for good, in training mode too: importances and the step-0 check rely on it."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if ("dropout" in name or "layerdrop" in name) and isinstance(value, float):
                setattr(module, name, 0.0)


def _require_plain_head(model: Model) -> None:
    """Refuses an adapter on the LM head: policy and reference share that module and run it one inside the other."""
    head = causal_lm(model).get_output_embeddings()
    if isinstance(head, (peft.tuners.tuners_utils.BaseTunerLayer, peft.utils.AuxiliaryTrainingWrapper)):
        raise ModelError(
            "model.adapter: the LM head has an adapter, which cannot be told from the reference's head; "
            "leave the head out of the adapter's targets"
        )


def _prepare_parameters(model: Model) -> None:
    """Trained parameters in float32: a bf16 weight near 1 cannot move by less than 0.004, so small steps get lost."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def choose_layout(scorer: Scorer, wanted: str, *, separate: bool) -> Layout:
    """`shared` where the model can take such a mask, tried on a few tokens; `separate` otherwise.

    Raises:
        ModelError: `shared` was asked for and the model cannot, or the log-probs of even separate rows differ from
            the model's own logits.
    """
    config = causal_lm(scorer.model).config
    difference = _difference_from_logits(scorer, "separate")
    if not difference <= _tolerance(scorer):
        raise ModelError(
            f"model: {config.model_type} changes its logits behind the LM head (log-probs differ by {difference:.2g} "
            "nats), which alignkit cannot reproduce; use a model whose logits are its head's output"
        )
    if separate or wanted == "separate":
        return "separate"
    obstacle = _obstacle_to_sharing(scorer)
    if obstacle is None:
        return "shared"
    if wanted == "shared":
        raise ModelError(f"model.layout: shared rows do not work with this model: {obstacle}; use auto or separate")
    return "separate"


_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
"""What configurations call the reach of local attention; tokens."""


def _obstacle_to_sharing(scorer: Scorer) -> str | None:
    config = causal_lm(scorer.model).config.get_text_config()
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"{config._attn_implementation} attention takes no custom mask"
    for name in _WINDOWS:  # longer than the tokens tried below, so not seen there
        if getattr(config, name, None) and getattr(config, "use_sliding_window", True):
            return f"its attention window of {getattr(config, name)} tokens would be dropped"
    try:
        difference = _difference_from_logits(scorer, "shared")
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        return f"it takes no such mask ({type(error).__name__} in its forward pass)"
    if not difference <= _tolerance(scorer):
        return f"its log-probs would differ by {difference:.2g} nats"
    return None


def _tolerance(scorer: Scorer) -> float:
    """Largest difference of a log-prob that rounding explains; nats."""
    return 1e-3 if causal_lm(scorer.model).dtype == torch.float32 else 0.2


@torch.no_grad()
def _difference_from_logits(scorer: Scorer, layout: Layout) -> float:
    """Largest difference between our log-probs and those of the model's own full logits, on made-up tokens."""
    model = causal_lm(scorer.model)
    vocabulary = min(model.config.get_text_config().vocab_size, 97)
    prompt, first, second = (np.arange(start, start + 5) * 7 % vocabulary for start in (1, 6, 11))
    batch = collate([Example(prompt, [first, second[:3]])], layout, pad_id=0, device=model.device)
    ours_RT = scorer(batch, Want()).logp_BRT[0]
    worst = []
    for ours_T, response in zip(ours_RT, (first, second[:3]), strict=True):
        ids_1L = torch.from_numpy(np.concatenate([prompt, response])[None]).to(model.device)
        logp_LV = model(input_ids=ids_1L, use_cache=False).logits[0].float().log_softmax(-1)
        theirs_T = logp_LV[len(prompt) - 1 : -1].gather(-1, ids_1L[0, len(prompt) :, None]).squeeze(-1)
        worst.append((theirs_T - ours_T[: len(response)]).abs().max())
    return float(torch.stack(worst).max())  # NaN stays NaN
