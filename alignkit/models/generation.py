"""Sampling responses, with the randomness of every row fixed beforehand.

The draw is ours: one uniform number per row and token, derived from the row's own seed, so a sample does not depend on
what else is in the batch, on the number of processes, or on a resume. So is the loop (`alignkit.models.decoding`),
except for models that keep what they have read in a form of their own: those decode by transformers' `generate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

from alignkit.errors import NonFiniteError
from alignkit.lazy import numpy as np
from alignkit.lazy import torch, transformers
from alignkit.models.batching import Batching, batching
from alignkit.models.decoding import BROKEN, Decoding, Sampled, as_decoder, drawn, end_of, is_broken, padded, uniforms
from alignkit.models.head import Draw
from alignkit.models.scorer import causal_lm

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor
    from transformers import PreTrainedModel

    from alignkit.models.scorer import Model

ROWS = 256
"""Most responses that are decoded together: decoding is bound by memory traffic, so many cost little more than one."""

MEMORY = 4 * 2**30
"""Most bytes that what the model keeps of their tokens may take."""


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
        [T] int32 token ids of each response, never empty.

    Raises:
        ModelError: even one prompt alone is decoded otherwise than the model's forward pass says.
        NonFiniteError: a logit is NaN or infinite.
    """
    every = range(len(prompts))
    found = _sampled(model, prompts, every, seeds, draw, max_new_tokens, eos_id, with_logps=False)
    return [ids for ids, _ in found]


def sample_groups(
    model: Model,
    prompts: Sequence[ndarray],
    seeds: Sequence[Sequence[int]],
    draw: Draw,
    *,
    max_new_tokens: int,
    eos_id: int,
) -> list[list[Sampled]]:
    """Several responses per prompt, drawn from `model`, with the log-probs at the draw's temperature.

    Args:
        model: a causal LM, not wrapped for training.
        prompts: token ids of each prompt.
        seeds: for each prompt, one per response.
        draw: temperature, top-k, top-p; log-probs are those before the last two.
        max_new_tokens: longest response; tokens.
        eos_id: ends a response; it is the response's last token when it was drawn in time.

    Returns:
        For each prompt its responses, never empty ones.

    Raises:
        ModelError: even one prompt alone is decoded otherwise than the model's forward pass says.
        NonFiniteError: a logit is NaN or infinite.
    """
    owners = [p for p, group in enumerate(seeds) for _ in group]
    flat = [seed for group in seeds for seed in group]
    found = iter(_sampled(model, prompts, owners, flat, draw, max_new_tokens, eos_id, with_logps=True))
    return [[next(found) for _ in group] for group in seeds]


@torch.no_grad()
def _sampled(
    model: Model,
    prompts: Sequence[ndarray],
    owners: Sequence[int],
    seeds: Sequence[int],
    draw: Draw,
    max_new_tokens: int,
    eos_id: int,
    *,
    with_logps: bool,
) -> list[Sampled]:
    """A response for each of `owners`, places in `prompts`."""
    if not owners:
        return []
    language_model = causal_lm(model)
    if not _has_rows(language_model):
        return _generated(language_model, [prompts[p] for p in owners], seeds, draw, max_new_tokens, eos_id)
    texts = {prompt.astype(np.int64).tobytes(): prompt for prompt in prompts}  # of equal ones, one is read
    read = sorted(texts.values(), key=len)
    place = {prompt.astype(np.int64).tobytes(): n for n, prompt in enumerate(read)}
    owner_of = [place[prompts[p].astype(np.int64).tobytes()] for p in owners]
    order = sorted(range(len(owners)), key=owner_of.__getitem__)
    found: dict[int, Sampled] = {}
    with as_decoder(language_model) as decoder:
        decoding = Decoding(decoder, draw, eos_id, max_new_tokens, with_logps)
        for start, stop in decoded_together(language_model, [len(read[owner_of[b]]) for b in order], max_new_tokens):
            mine = order[start:stop]
            first, last = owner_of[mine[0]], owner_of[mine[-1]]
            responses = decoding.run(
                read[first : last + 1], [owner_of[b] - first for b in mine], [seeds[b] for b in mine]
            )
            found |= zip(mine, responses, strict=True)
    return [found[b] for b in range(len(owners))]


def decoded_together(model: PreTrainedModel, lengths: Sequence[int], max_new_tokens: int) -> Iterator[tuple[int, int]]:
    """Where runs of responses start and stop that are decoded together.

    Args:
        model: decodes them.
        lengths: of their prompts, ascending; tokens.
        max_new_tokens: longest response; tokens.
    """
    start, per_token = 0, _bytes_per_token(model)
    for place, length in enumerate(lengths):
        number = place - start + 1
        if number > 1 and (number > ROWS or number * (length + max_new_tokens) * per_token > MEMORY):
            yield start, place
            start = place
    yield start, len(lengths)


def _bytes_per_token(model: PreTrainedModel) -> int:
    """Of keys and values in all layers; 0 where the configuration does not say how wide they are."""
    config: Any = model.config.get_text_config()
    names = ("num_hidden_layers", "num_attention_heads", "hidden_size")
    layers, heads, hidden = (getattr(config, name, None) for name in names)
    if not (isinstance(layers, int) and isinstance(heads, int) and isinstance(hidden, int)):
        return 0
    width = getattr(config, "head_dim", None) or hidden // heads
    return int(2 * layers * (getattr(config, "num_key_value_heads", None) or heads) * width * model.dtype.itemsize)


def _has_rows(model: PreTrainedModel) -> bool:
    """Whether what the model keeps of a prompt can be handed to several responses: a cache whose rows are apart."""
    return batching(model) == "any lengths" and "past_key_values" in signature(model.forward).parameters


# --- models whose cache cannot be taken apart ---


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
        self.logps: list[Tensor] = []
        """Of each new token [B] its log-prob, nats."""

    def __call__(self, ids_BL: Tensor, logits_BV: Tensor) -> Tensor:
        if is_broken(logits_BV):
            raise NonFiniteError(BROKEN)
        uniform_B = self.uniform_BT[:, ids_BL.shape[1] - self.num_prompt]
        token_B, logp_B = drawn(self.draw, logits_BV, uniform_B)
        self.logps.append(logp_B)
        return torch.full_like(logits_BV, -torch.inf).scatter(-1, token_B[:, None], 0.0)


def _generated(
    model: PreTrainedModel,
    prompts: Sequence[ndarray],
    seeds: Sequence[int],
    draw: Draw,
    max_new_tokens: int,
    eos_id: int,
) -> list[Sampled]:
    """One response per prompt, each decoded from its prompt on, by transformers' `generate`."""
    found: dict[int, Sampled] = {}
    for places in _groups(prompts, batching(model)):
        for start in range(0, len(places), ROWS):
            mine = places[start : start + ROWS]
            some = ([prompts[b] for b in mine], [seeds[b] for b in mine])
            found |= zip(mine, _together(model, *some, draw, max_new_tokens, eos_id), strict=True)
    return [found[b] for b in range(len(prompts))]


def _groups(prompts: Sequence[ndarray], batching: Batching) -> list[list[int]]:
    """Which prompts are decoded together."""
    if batching == "any lengths":
        return [list(range(len(prompts)))]
    groups: dict[int, list[int]] = {}
    for b, prompt in enumerate(prompts):
        groups.setdefault(len(prompt) if batching == "equal lengths" else b, []).append(b)
    return list(groups.values())


def _together(
    model: PreTrainedModel,
    prompts: Sequence[ndarray],
    seeds: Sequence[int],
    draw: Draw,
    max_new_tokens: int,
    eos_id: int,
) -> list[Sampled]:
    """One response per prompt, decoded as one batch."""
    longest = max(map(len, prompts))
    ids_BP, mask_BP = padded(prompts, eos_id)
    inverse = InverseDraw(draw, torch.from_numpy(uniforms(seeds, max_new_tokens)).to(model.device), longest)
    config = transformers.GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=eos_id, pad_token_id=eos_id
    )
    with as_decoder(model) as decoder:
        output_BL = decoder.generate(  # type: ignore[operator]
            inputs=torch.from_numpy(ids_BP).to(model.device),
            attention_mask=torch.from_numpy(mask_BP).to(model.device),
            generation_config=config,
            logits_processor=transformers.LogitsProcessorList([inverse]),
        )
    ids_BT = output_BL[:, longest:].cpu().numpy().astype(np.int32)
    logp_BT = torch.stack(inverse.logps, dim=-1).cpu().numpy()
    ends = [end_of(ids_T, eos_id) for ids_T in ids_BT]
    return [(ids_T[:end], logp_T[:end]) for ids_T, logp_T, end in zip(ids_BT, logp_BT, ends, strict=True)]
