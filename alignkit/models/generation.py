"""Sampling responses, with the randomness of every row fixed beforehand.

Decoding is transformers' `generate`; the draw is ours: one uniform number per row and token, derived from the row's own
seed, so a sample does not depend on what else is in the batch, on the number of processes, or on a resume. Whether the
model's own decoding keeps to that is tried before the first sample: some models ignore the mask of a padded prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import signature
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from alignkit.errors import ModelError, NonFiniteError
from alignkit.lazy import numpy as np
from alignkit.lazy import torch, transformers
from alignkit.models.head import Draw
from alignkit.models.layout import Example, collate
from alignkit.models.scorer import Scorer, causal_lm

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor
    from transformers import Cache, PreTrainedModel

    from alignkit.models.scorer import Model

Batching = Literal["any lengths", "equal lengths", "one by one"]


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
        token_B, logp_B = _drawn(self.draw, logits_BV, self.uniform_BT[:, ids_BL.shape[1] - self.num_prompt])
        self.logps.append(logp_B)
        return torch.full_like(logits_BV, -torch.inf).scatter(-1, token_B[:, None], 0.0)


def _drawn(draw: Draw, logits_BV: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
    """[B] tokens, and their log-probs at the draw's temperature, before its top-k and top-p.

    Raises:
        NonFiniteError: a logit is NaN or infinite.
    """
    if not bool((logits_BV.amax(-1) < torch.inf).all()):  # of NaN too, which no comparison holds for
        raise NonFiniteError("the model's logits are NaN or infinite while it samples")
    token_B = draw(logits_BV, uniform_B)
    logp_BV = (logits_BV.float() / draw.temperature).log_softmax(-1)
    return token_B, logp_BV.gather(-1, token_B[:, None])[:, 0]


Sampled = tuple["ndarray", "ndarray"]
"""[T] int32 token ids of a response, and their [T] float32 log-probs, nats."""


def uniforms(seeds: Sequence[int], num_tokens: int) -> ndarray:
    """[B, num_tokens] float32 in [0, 1), multiples of 2**-24; row b depends on `seeds[b]` only, and a shorter table is
    its prefix."""
    table_BT = np.stack([np.random.default_rng(seed).random(num_tokens) for seed in seeds])
    return (np.floor(table_BT * 2**24) / 2**24).astype(np.float32)


@torch.no_grad()
def sample(
    model: Model, prompts: Sequence[ndarray], seeds: Sequence[int], draw: Draw, *, max_new_tokens: int, eos_id: int
) -> list[ndarray]:
    """One response per prompt, drawn from `model`.

    Prompts are decoded together as far as the model takes it (`batching`), so that no sample depends on the others.

    Args:
        model: a causal LM, not wrapped for training.
        prompts: token ids of each prompt.
        seeds: one per prompt.
        draw: temperature, top-k, top-p.
        max_new_tokens: longest response; tokens.
        eos_id: ends a response; it is the response's last token when it was drawn in time.

    Returns:
        Token ids of each response, never empty.

    Raises:
        ModelError: even one prompt alone is decoded otherwise than the model's forward pass says.
    """
    sampled = _sampled(model, prompts, seeds, draw, max_new_tokens=max_new_tokens, eos_id=eos_id)
    return [ids for ids, _ in sampled]


def _sampled(
    model: Model, prompts: Sequence[ndarray], seeds: Sequence[int], draw: Draw, *, max_new_tokens: int, eos_id: int
) -> list[Sampled]:
    found: dict[int, Sampled] = {}
    for places in _groups(prompts, batching(causal_lm(model))):
        mine = ([prompts[b] for b in places], [seeds[b] for b in places])
        responses = _together(model, *mine, draw, max_new_tokens=max_new_tokens, eos_id=eos_id)
        found |= zip(places, responses, strict=True)
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
    model: Model, prompts: Sequence[ndarray], seeds: Sequence[int], draw: Draw, *, max_new_tokens: int, eos_id: int
) -> list[Sampled]:
    """One response per prompt, decoded as one batch."""
    device = causal_lm(model).device
    longest = max(map(len, prompts))
    ids_BP, mask_BP = _padded(prompts, eos_id)
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
    responses = [_until_eos(row, eos_id) for row in output_BL[:, longest:].cpu().numpy()]
    logp_BT = torch.stack(inverse.logps, dim=-1).cpu().numpy()
    return [(ids, logp_T[: len(ids)]) for ids, logp_T in zip(responses, logp_BT, strict=True)]


ROWS = 256
"""Responses decoded together; decoding is bound by memory traffic, so many at once cost little more than one."""


@torch.no_grad()
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

    A prompt is computed once for all of its responses, and a row is dropped when it has ended. Where the model keeps
    what it has read in a form of its own, whose rows cannot be multiplied, each response is decoded from its prompt on.

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
    most = max(1, ROWS // max(map(len, seeds), default=1))
    shares = _shares_prompts(causal_lm(model))
    found: list[list[Sampled]] = []
    for start in range(0, len(prompts), most):
        mine, own = prompts[start : start + most], seeds[start : start + most]
        if shares:
            with _decoding(causal_lm(model)) as language_model:
                found += _Decoding(language_model, draw, eos_id, max_new_tokens).run(mine, own)
        else:
            flat = [prompt for prompt, group in zip(mine, own, strict=True) for _ in group]
            every = [seed for group in own for seed in group]
            drawn = iter(_sampled(model, flat, every, draw, max_new_tokens=max_new_tokens, eos_id=eos_id))
            found += [[(ids.astype(np.int32), logp_T) for ids, logp_T in islice(drawn, len(group))] for group in own]
    return found


def _shares_prompts(model: PreTrainedModel) -> bool:
    """Whether what the model keeps of a prompt can be handed to several responses: a cache whose rows are apart."""
    return batching(model) == "any lengths" and "past_key_values" in signature(model.forward).parameters


@dataclass
class _Decoding:
    """One batch of groups, decoded token by token."""

    model: PreTrainedModel
    draw: Draw
    eos_id: int
    max_new_tokens: int

    def run(self, prompts: Sequence[ndarray], seeds: Sequence[Sequence[int]]) -> list[list[Sampled]]:
        """The responses to each prompt."""
        ids_PL, mask_PL = (torch.from_numpy(array).to(self.model.device) for array in _padded(prompts, self.eos_id))
        sizes = torch.tensor([len(group) for group in seeds], device=self.model.device)
        output = self._forward(ids_PL, mask_PL, (mask_PL.cumsum(-1) - 1).clamp(min=0), None)
        cache: Cache = output.past_key_values
        owner_B = torch.arange(len(prompts), device=sizes.device).repeat_interleave(sizes)
        cache.reorder_cache(owner_B)  # type: ignore[arg-type]
        flat = [seed for group in seeds for seed in group]
        uniform_BT = torch.from_numpy(uniforms(flat, self.max_new_tokens)).to(self.model.device)
        drawn = self._tokens(cache, mask_PL[owner_B], output.logits[owner_B, -1], uniform_BT)
        ends = np.cumsum([len(group) for group in seeds])
        return [drawn[end - len(group) : end] for group, end in zip(seeds, ends.tolist(), strict=True)]

    def _tokens(self, cache: Cache, mask_BL: Tensor, logits_BV: Tensor, uniform_BT: Tensor) -> list[Sampled]:
        """Draws until every row has ended."""
        ids: list[list[int]] = [[] for _ in range(len(mask_BL))]
        logps: list[list[float]] = [[] for _ in range(len(mask_BL))]
        alive_N = torch.arange(len(mask_BL), device=mask_BL.device)
        for t in range(self.max_new_tokens):
            token_N, logp_N = _drawn(self.draw, logits_BV, uniform_BT[alive_N, t])
            rows, tokens = alive_N.tolist(), token_N.tolist()
            for row, token, logp in zip(rows, tokens, logp_N.tolist(), strict=True):
                ids[row].append(token)
                logps[row].append(logp)
            going = torch.tensor([n for n, token in enumerate(tokens) if token != self.eos_id], device=alive_N.device)
            if not len(going) or t + 1 == self.max_new_tokens:
                break
            if len(going) < len(tokens):
                alive_N, token_N, mask_BL = alive_N[going], token_N[going], mask_BL[going]
                cache.reorder_cache(going)  # type: ignore[arg-type]
            mask_BL = torch.cat([mask_BL, mask_BL.new_ones(len(mask_BL), 1)], dim=-1)
            position_N1 = mask_BL.sum(-1, keepdim=True) - 1
            logits_BV = self._forward(token_N[:, None], mask_BL, position_N1, cache).logits[:, -1]
        return [
            (np.array(row, dtype=np.int32), np.array(logp, dtype=np.float32))
            for row, logp in zip(ids, logps, strict=True)
        ]

    def _forward(self, ids_NL: Tensor, mask_NL: Tensor, positions_NL: Tensor, cache: Cache | None) -> Any:  # noqa: ANN401 -- each model has its own
        takes = signature(self.model.forward).parameters
        extra = {"position_ids": positions_NL, "logits_to_keep": 1}
        return self.model(
            input_ids=ids_NL,
            attention_mask=mask_NL,
            past_key_values=cache,
            use_cache=True,
            **{key: value for key, value in extra.items() if key in takes},
        )


def _padded(prompts: Sequence[ndarray], pad_id: int) -> tuple[ndarray, ndarray]:
    """[B, P] ids and mask of prompts, padded on the left because decoding appends on the right."""
    ids_BP = np.full((len(prompts), max(map(len, prompts))), pad_id, dtype=np.int64)
    mask_BP = np.zeros_like(ids_BP)
    for row_P, mask_P, prompt in zip(ids_BP, mask_BP, prompts, strict=True):
        row_P[-len(prompt) :] = prompt
        mask_P[-len(prompt) :] = 1
    return ids_BP, mask_BP


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


# --- what a model's decoding takes ---

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
        with _decoding(model), torch.no_grad():
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
    ids_BP, mask_BP = (torch.from_numpy(array).to(model.device) for array in _padded(prompts, 1))
    batch = collate([Example(ids[:1], [ids[1:]]) for ids in ids_BP.cpu().numpy()], "separate", 1, model.device)
    positions_BP = (mask_BP.cumsum(-1) - 1).clamp(min=0)
    with torch.enable_grad():
        embeddings_BPD = model.get_input_embeddings()(ids_BP).detach().requires_grad_()
        padded = replace(batch, positions_XL=positions_BP, attention=mask_BP.bool())
        last_D = Scorer(model, 1).hidden(padded, embeddings_BPD.clone())[0, -1].float()
        total = (last_D * torch.linspace(-1, 1, len(last_D), device=last_D.device)).sum()
        (gradient_BPD,) = torch.autograd.grad(total, embeddings_BPD)
    return bool((gradient_BPD[0][mask_BP[0] == 0] != 0).any())


def _said(model: PreTrainedModel, prompts: list[ndarray], forced: ndarray) -> Tensor:
    """[T, V] log-probs after the first prompt and before each of the `forced` tokens that follow every prompt."""
    ids_BP, mask_BP = _padded(prompts, 1)
    said: list[Tensor] = []

    def force(ids_BL: Tensor, logits_BV: Tensor) -> Tensor:
        said.append(logits_BV[0].float().log_softmax(-1))
        return torch.full_like(logits_BV, -torch.inf).index_fill_(-1, forced_T[len(said) - 1], 0.0)

    forced_T = torch.from_numpy(forced).to(model.device)
    config = transformers.GenerationConfig(max_new_tokens=len(forced), do_sample=False, pad_token_id=1)
    with _decoding(model) as language_model:
        language_model.generate(  # type: ignore[operator]
            inputs=torch.from_numpy(ids_BP).to(model.device),
            attention_mask=torch.from_numpy(mask_BP).to(model.device),
            generation_config=config,
            logits_processor=transformers.LogitsProcessorList([force]),
        )
    return torch.stack(said)
