"""The policy without its weights: shapes and types on the device that it would be on, and no numbers.

A plan runs the training step on it, inside torch's `FakeTensorMode`, where an operation gives a tensor of the right
shape, type and device and computes nothing. What a run finds out by trying (`alignkit.models.probe`) is presumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from alignkit.lazy import numpy as np
from alignkit.lazy import peft, torch
from alignkit.models.attention import let_not_pack
from alignkit.models.base import ModelSource
from alignkit.models.head import HeadTransform
from alignkit.models.layout import Example, Layout, collate
from alignkit.models.lengths import Longest, notes_on_length, require_length
from alignkit.models.policy import (
    Parameters,
    Policy,
    checkpoint_activations,
    known_obstacle_to_sharing,
    notes_on_adapter,
    trainable_scorer,
)
from alignkit.models.probe import CAPS, obstacle_of_packed_window
from alignkit.models.quantized import pack_outline
from alignkit.models.scorer import Scorer, Want, causal_lm

if TYPE_CHECKING:
    from torch import nn
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import PreTrainedTokenizerBase


def outlined_policy(
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase,
    *,
    separate: bool,
    device: torch.device,
    fake: FakeTensorMode,
    template_end: int | None,
    longest: Longest,
    parameters: Parameters = "fp32",
) -> Policy:
    """What `build_policy` gives, without numbers.

    Args:
        source: the recipe's `model`.
        tokenizer: from the same source.
        separate: a component cannot share the prompt.
        device: where the model would be.
        fake: the mode that it will be used in; not entered yet.
        template_end: id that ends the responses of the data; None where that is EOS.
        longest: what the rows will need.
        parameters: number format of the trained ones.

    Raises:
        ModelError: the model cannot be built, or the rows are longer than it takes.
    """
    scorer = outlined_scorer(source, tokenizer, device, fake, parameters)
    require_length(causal_lm(scorer.model), longest)
    layout = "separate" if separate else _presumed_layout(scorer, source.layout, longest, fake)
    is_presumed = layout != "separate" and source.layout == "auto"
    notes = [f"{layout} rows are presumed; a run tries whether the model takes them"] if is_presumed else []
    notes += notes_on_length(causal_lm(scorer.model), longest)
    if source.adapter is not None and source.adapter.targets == "all-linear":
        notes += notes_on_adapter(scorer.model)
    if source.gradient_checkpointing:
        checkpoint_activations(scorer)
    return Policy(scorer, layout, tokenizer, isinstance(scorer.model, peft.PeftModel), template_end, tuple(notes))


def outlined_scorer(
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    fake: FakeTensorMode,
    parameters: Parameters = "fp32",
) -> Scorer:
    """The module that is trained, without numbers, in evaluation mode; arguments as of `outlined_policy`."""
    with torch.device("meta"):
        scorer = trainable_scorer(source, source.outline(tokenizer), 0, parameters)
    with fake:
        _give_device(scorer, device)
        if getattr(causal_lm(scorer.model), "is_loaded_in_4bit", False):
            pack_outline(scorer)
    config = causal_lm(scorer.model).config.get_text_config()
    caps = [float(value) for name in CAPS if (value := getattr(config, name, None))]
    scorer.transform = HeadTransform(softcap=caps[0] if caps else None)  # the rest of a transform takes no memory
    return scorer


def _presumed_layout(scorer: Scorer, wanted: str, longest: Longest, fake: FakeTensorMode) -> Layout:
    """What `choose_layout` gives, as far as configuration and shapes tell."""
    if wanted in ("packed", "auto") and _packs(scorer, longest, fake):
        return "packed"
    if wanted == "separate" or known_obstacle_to_sharing(scorer, longest):
        return "separate"
    is_apart = wanted == "auto" and _takes(scorer, "separate", fake) and not _takes(scorer, "shared", fake)
    return "separate" if is_apart else "shared"


def _packs(scorer: Scorer, longest: Longest, fake: FakeTensorMode) -> bool:
    """Whether rows can be packed."""
    model = causal_lm(scorer.model)
    if model.config._attn_implementation != "sdpa":
        return False
    if _takes(scorer, "packed", fake):
        with fake:
            obstacle = obstacle_of_packed_window(scorer, longest)
        if obstacle is None:
            return True
    let_not_pack(model)
    return False


def _takes(scorer: Scorer, layout: Layout, fake: FakeTensorMode) -> bool:
    """Whether rows of a layout have shapes that the model takes."""
    ids = np.zeros(3, dtype=np.int32)
    device = next(scorer.parameters()).device
    try:
        with fake, torch.no_grad():
            scorer(collate([Example(ids, [ids, ids])], layout, pad_id=0, device=device), Want())
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, AssertionError):
        return False
    return True


def _give_device(module: nn.Module, device: torch.device) -> None:
    """Moves what lies on `meta`; what two modules share stays shared."""
    moved: dict[int, torch.Tensor] = {}
    for part in module.modules():
        for own in cast("tuple[dict[str, Any], ...]", (part._parameters, part._buffers)):
            for name, tensor in own.items():
                if tensor is not None:
                    own[name] = moved.setdefault(id(tensor), _like(tensor, device))


def _like(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    there = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
    return torch.nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else there
