"""Sampling responses, with the randomness of every row fixed beforehand.

Decoding is transformers' `generate`; the draw is ours: one uniform number per row and token, derived from the row's own
seed, so a sample does not depend on what else is in the batch, on the number of processes, or on a resume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from alignkit.lazy import numpy as np
from alignkit.lazy import torch, transformers
from alignkit.models.head import Draw
from alignkit.models.scorer import causal_lm

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor
    from transformers import PreTrainedModel

    from alignkit.models.scorer import Model


class InverseDraw(transformers.LogitsProcessor):
    """Leaves only the drawn token possible, so that greedy decoding picks it.

    Args:
        draw: temperature, top-k, top-p.
        uniform_BT: [B, T] in [0, 1), one number per row and new token.
        num_prompt: columns of the padded prompt.
    """

    def __init__(self, draw: Draw, uniform_BT: Tensor, num_prompt: int) -> None:
        self.draw = draw
        self.uniform_BT = uniform_BT
        self.num_prompt = num_prompt

    def __call__(self, ids_BL: Tensor, logits_BV: Tensor) -> Tensor:
        token_B = self.draw(logits_BV, self.uniform_BT[:, ids_BL.shape[1] - self.num_prompt])
        return torch.full_like(logits_BV, -torch.inf).scatter(-1, token_B[:, None], 0.0)


def uniforms(seeds: Sequence[int], num_tokens: int) -> ndarray:
    """[B, num_tokens] float32 in [0, 1); row b depends on `seeds[b]` only, and a shorter table is its prefix.

    Not float64, which not every accelerator has; rounding must not make a 1 of the largest.
    """
    uniform_BT = np.stack([np.random.default_rng(seed).random(num_tokens) for seed in seeds]).astype(np.float32)
    return np.minimum(uniform_BT, np.nextafter(np.float32(1), np.float32(0)))


@torch.no_grad()
def sample(
    model: Model, prompts: Sequence[ndarray], seeds: Sequence[int], draw: Draw, *, max_new_tokens: int, eos_id: int
) -> list[ndarray]:
    """One response per prompt, drawn from `model`.

    Args:
        model: a causal LM, not wrapped for training.
        prompts: token ids of each prompt.
        seeds: one per prompt.
        draw: temperature, top-k, top-p.
        max_new_tokens: longest response; tokens.
        eos_id: ends a response; it is the response's last token when it was drawn in time.

    Returns:
        Token ids of each response, never empty.
    """
    device = causal_lm(model).device
    longest = max(map(len, prompts))
    ids_BP = np.full((len(prompts), longest), eos_id, dtype=np.int64)
    mask_BP = np.zeros_like(ids_BP)
    for b, prompt in enumerate(prompts):  # decoding appends on the right, so prompts are padded on the left
        ids_BP[b, longest - len(prompt) :] = prompt
        mask_BP[b, longest - len(prompt) :] = 1
    inverse = InverseDraw(draw, torch.from_numpy(uniforms(seeds, max_new_tokens)).to(device), longest)
    config = transformers.GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=eos_id, pad_token_id=eos_id
    )
    with _decoding(causal_lm(model)) as language_model:
        output_BL = language_model.generate(  # type: ignore[operator]
            inputs=torch.from_numpy(ids_BP).to(device),
            attention_mask=torch.from_numpy(mask_BP).to(device),
            generation_config=config,
            logits_processor=transformers.LogitsProcessorList([inverse]),
        )
    return [_until_eos(row, eos_id) for row in output_BL[:, longest:].cpu().numpy()]


@contextmanager
def _decoding(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """The model as decoding needs it, as it was again afterwards.

    In evaluation mode, because a layer that recomputes activations in training mode drops the cache and would see one
    token; without the model's own generation settings, because generate() adds those (a repetition penalty, say) to
    what it is given, and the sample would not come from the model's distribution.
    """
    was_training, settings = model.training, model.generation_config
    model.eval()
    model.generation_config = transformers.GenerationConfig()
    try:
        yield model
    finally:
        model.train(was_training)
        model.generation_config = settings


def _until_eos(ids: ndarray, eos_id: int) -> ndarray:
    ends = np.flatnonzero(ids == eos_id)
    return ids[: ends[0] + 1] if len(ends) else ids
