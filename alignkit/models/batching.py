"""Whether a model's own decoding keeps to its forward pass, tried before its first sample.

Some models ignore the mask of a padded prompt, some keep a state that other rows get into.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

from alignkit.errors import ModelError
from alignkit.lazy import numpy as np
from alignkit.lazy import torch, transformers
from alignkit.models.decoding import as_decoder, padded
from alignkit.models.layout import Example, collate
from alignkit.models.scorer import Scorer

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor
    from transformers import PreTrainedModel

Batching = Literal["any lengths", "equal lengths", "one by one"]

_FOUND: WeakKeyDictionary[PreTrainedModel, Batching] = WeakKeyDictionary()
"""What was found out of each model."""


def batching(model: PreTrainedModel) -> Batching:
    """Which prompts can be decoded together, tried once per model on made-up tokens.

    Raises:
        ModelError: even one prompt alone is decoded otherwise than the forward pass says.
    """
    if model not in _FOUND:
        _FOUND[model] = _try_batching(model)
    return _FOUND[model]


def _try_batching(model: PreTrainedModel) -> Batching:
    """Forces the same tokens after one prompt, alone and in company, and compares what the model says on the way."""
    vocabulary = min(int(model.config.get_text_config().vocab_size), 97)
    prompt, forced = np.arange(1, 5) * 7 % vocabulary, np.arange(6, 9) * 7 % vocabulary
    longer, others = (np.arange(start, start + n) * 5 % vocabulary for start, n in ((2, 7), (3, 4)))
    try:
        with as_decoder(model), torch.no_grad():
            ids_1L = torch.from_numpy(np.concatenate([prompt, forced[:-1]])[None]).to(model.device)
            own_TV = model(input_ids=ids_1L, use_cache=False).logits[0, len(prompt) - 1 :].float()
            largest, own_TV = float(own_TV.abs().max()), own_TV.log_softmax(-1)
            alone, equal, ragged = (
                float((_said(model, [prompt, *company], forced) - own_TV).abs().max())
                for company in ((), (others,), (longer,))
            )
            is_padding_seen = _sees_padding(model, [prompt, longer])
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, AssertionError) as error:
        reason = f"its decoding ends in {type(error).__name__} ({(str(error).splitlines() or [''])[0]:.150})"
        raise _no_sampling(model, reason) from error
    low_precision = model.dtype != torch.float32 or torch.is_autocast_enabled(model.device.type)
    tolerance = max(0.2, largest / 32) if low_precision else 1e-3  # nats that rounding explains
    if not alone <= tolerance:
        raise _no_sampling(model, f"its decoding token by token differs from its forward pass by {alone:.2g} nats")
    if not equal <= tolerance:
        return "one by one"
    return "any lengths" if ragged <= tolerance and not is_padding_seen else "equal lengths"


def _no_sampling(model: PreTrainedModel, reason: str) -> ModelError:
    return ModelError(
        f"model: {model.config.model_type} cannot be sampled from: {reason}; use a recipe without sampled anchors and "
        "set evaluation.samples to 0"
    )


def _sees_padding(model: PreTrainedModel, prompts: list[ndarray]) -> bool:
    """Whether the padding before a prompt has a say: a gradient that the mask makes 0 otherwise, in any precision."""
    ids_BP, mask_BP = (torch.from_numpy(array).to(model.device) for array in padded(prompts, 1))
    batch = collate([Example(ids[:1], [ids[1:]]) for ids in ids_BP.cpu().numpy()], "separate", 1, model.device)
    positions_BP = (mask_BP.cumsum(-1) - 1).clamp(min=0)
    with torch.enable_grad():
        embeddings_BPD = model.get_input_embeddings()(ids_BP).detach().requires_grad_()
        laid = replace(batch, positions_XL=positions_BP, attention=mask_BP.bool())
        last_D = Scorer(model, 1).hidden(laid, embeddings_BPD.clone())[0, -1].float()
        total = (last_D * torch.linspace(-1, 1, len(last_D), device=last_D.device)).sum()
        (gradient_BPD,) = torch.autograd.grad(total, embeddings_BPD)
    return bool((gradient_BPD[0][mask_BP[0] == 0] != 0).any())


def _said(model: PreTrainedModel, prompts: list[ndarray], forced: ndarray) -> Tensor:
    """[T, V] log-probs after the first prompt and before each of the `forced` tokens that follow every prompt."""
    ids_BP, mask_BP = padded(prompts, 1)
    said: list[Tensor] = []

    def force(ids_BL: Tensor, logits_BV: Tensor) -> Tensor:
        said.append(logits_BV[0].float().log_softmax(-1))
        return torch.full_like(logits_BV, -torch.inf).index_fill_(-1, forced_T[len(said) - 1], 0.0)

    forced_T = torch.from_numpy(forced).to(model.device)
    config = transformers.GenerationConfig(max_new_tokens=len(forced), do_sample=False, pad_token_id=1)
    with as_decoder(model) as language_model:
        language_model.generate(  # type: ignore[operator]
            inputs=torch.from_numpy(ids_BP).to(model.device),
            attention_mask=torch.from_numpy(mask_BP).to(model.device),
            generation_config=config,
            logits_processor=transformers.LogitsProcessorList([force]),
        )
    return torch.stack(said)
