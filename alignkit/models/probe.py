"""What a model does, found out on a few made-up tokens before training: right, or refused in a sentence.

The tests are exact, so they tell right from wrong in any precision: hidden states of two equal calls, a known vector
sent through what lies behind the head, and gradients that are zero where nothing may flow. A comparison of log-probs,
which needs a tolerance, only backs them up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from alignkit.errors import ModelError
from alignkit.lazy import numpy as np
from alignkit.lazy import peft, torch
from alignkit.models.attention import NAME, Pass, let_not_pack
from alignkit.models.head import HeadTransform
from alignkit.models.layout import Batch, Example, Layout, collate
from alignkit.models.lengths import Longest, obstacle_of_window
from alignkit.models.scorer import Scorer, Want, causal_lm

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = 0.01
"""Share of the hidden states' size that another kernel may explain; a model that changes them differs by 1 or more."""

_DIVISORS = ("logits_scaling", "logits_mup_width_multiplier")
_FACTORS = ("logit_scale", "lm_head_multiplier", "output_multiplier", "logits_scaling")
CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""What configurations call what a model does around its head. `logits_scaling` divides in Granite, multiplies in
HyperCLOVA X and divides the hidden states in MiniCPM 3; which of them is so is tried, never assumed."""


@contextmanager
def refusing(scorer: Scorer) -> Iterator[None]:
    """What goes wrong inside a model that is not made for this becomes one line.

    Raises:
        ModelError: with the type of the model and the first line of its own error.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, AssertionError) as error:
        if isinstance(error, ModelError):
            raise
        reason = f"its forward pass ends in {type(error).__name__}"
        if str(error).strip():
            reason += f" ({str(error).strip().splitlines()[0]:.150})"
        raise unsupported(scorer, reason) from error


def unsupported(scorer: Scorer, reason: str) -> ModelError:
    """The error that says why a model cannot be used."""
    kind = causal_lm(scorer.model).config.model_type
    adapted = " with this adapter" if isinstance(scorer.model, peft.PeftModel) else ""
    return ModelError(f"model: {kind} is not supported{adapted}: {reason}")


# --- the head ---


class _Seen(NamedTuple):
    """What a forward pass of the whole model showed at its head."""

    hidden_1LD: Tensor | None
    raw_1LV: Tensor | None
    logits_1LV: Tensor


@torch.no_grad()
def _own_forward(scorer: Scorer, ids: np.ndarray, replaced_V: Tensor | None = None) -> _Seen:
    """The model's own forward pass on one unpadded row; the head's output can be replaced by a known vector."""
    model = causal_lm(scorer.model)
    found: dict[str, Tensor] = {}

    def hook(_: object, given: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        found["hidden"], found["raw"] = given[0], output
        return None if replaced_V is None else replaced_V.expand(output.shape).clone()

    head = model.get_output_embeddings()
    if head is None:
        raise unsupported(scorer, "it has no LM head")
    handle = head.register_forward_hook(hook)
    try:
        logits_1LV = model(input_ids=torch.from_numpy(ids[None]).to(model.device), use_cache=False).logits
    finally:
        handle.remove()
    return _Seen(found.get("hidden"), found.get("raw"), logits_1LV)


@torch.no_grad()
def find_transform(scorer: Scorer) -> HeadTransform:
    """What the model does around its head, proven: equal hidden states, and a known vector bent in the same way.

    Raises:
        ModelError: its logits are not a known function of its head's output.
    """
    model = causal_lm(scorer.model)
    example = _examples(scorer)[0]
    ids = np.concatenate([example.prompt, example.responses[0]])
    with refusing(scorer):
        seen = _own_forward(scorer, ids)
        if seen.hidden_1LD is None or seen.raw_1LV is None:
            raise unsupported(scorer, "its logits do not come from its LM head")
        if not torch.isfinite(seen.logits_1LV).all():
            raise unsupported(scorer, "its logits are not finite on made-up tokens; the weights are broken")
        batch = collate([Example(ids[:1], [ids[1:]])], "separate", pad_id=0, device=model.device)
        ours_1LD = scorer.hidden(batch, model.get_input_embeddings()(batch.ids_XL))
        known_V = torch.linspace(-60, 60, seen.raw_1LV.shape[-1], device=model.device)
        bent_1LV = _own_forward(scorer, ids, known_V).logits_1LV.float()
    divisor = _divisor(scorer, seen.hidden_1LD.float(), ours_1LD.float())
    config = model.config.get_text_config()
    factors = [value for name in _FACTORS if (value := getattr(config, name, None))]
    candidates = product(
        [*(value for value in CAPS if getattr(config, value, None)), None],
        [*factors, *(1 / factor for factor in factors), 1.0],
    )
    for cap, scale in candidates:  # what the configuration names first: a cap that is not reached looks like none
        transform = HeadTransform(divisor, float(scale), float(getattr(config, cap)) if cap else None)
        if bent_1LV.shape == seen.raw_1LV.shape and torch.allclose(bent_1LV, transform.bend(known_V), atol=1e-2):
            return transform
    raise unsupported(scorer, "it changes its logits behind the LM head in a way that is not known")


def _divisor(scorer: Scorer, theirs_1LD: Tensor, ours_1LD: Tensor) -> float:
    config = causal_lm(scorer.model).config.get_text_config()
    if theirs_1LD.shape == ours_1LD.shape:
        for divisor in (1.0, *(value for name in _DIVISORS if (value := getattr(config, name, None)))):
            difference = torch.linalg.vector_norm(theirs_1LD - ours_1LD / divisor)
            if difference <= ROUNDING * torch.linalg.vector_norm(theirs_1LD):
                return float(divisor)
    raise unsupported(scorer, "it changes its hidden states before the LM head in a way that is not known")


# --- where information flows ---


def require_causal(scorer: Scorer) -> None:
    """Refuses a model whose log-probs know later tokens, or are not those of its own logits.

    Raises:
        ModelError: it is such a model.
    """
    with refusing(scorer):
        batch = _batch(scorer, "separate")
        prompt_XL = _prompt(batch)
        if _flows(scorer, batch, prompt_XL, ~prompt_XL):
            raise unsupported(scorer, "it is not causal: what it says of a token depends on later ones")
        difference = difference_from_logits(scorer, "separate")
    if not difference <= tolerance(scorer):
        raise unsupported(
            scorer, f"the log-probs of a padded row differ from those of its own logits by {difference:.2g} nats"
        )


def obstacle_to_packing(scorer: Scorer, longest: Longest | None) -> str | None:
    """Why a batch cannot be one row without padding, tried; None where it can. The model is as before if it cannot."""
    model = causal_lm(scorer.model)
    if model.config._attn_implementation not in ("sdpa", NAME):
        return f"{model.config._attn_implementation} attention cannot be told what to look at"
    obstacle = obstacle_to_sharing(scorer, "packed") or obstacle_of_packed_window(scorer, longest)
    if obstacle is not None:
        let_not_pack(model)
    return obstacle


@torch.no_grad()
def obstacle_of_packed_window(scorer: Scorer, longest: Longest | None) -> str | None:
    """Why local attention cannot be packed: rows reach beyond it, and not every layer tells its own window.

    Args:
        scorer: a model that takes packed rows.
        longest: what the rows need; None when it is not known.
    """
    config = causal_lm(scorer.model).config.get_text_config()
    batch = _batch(scorer, "packed")
    assert batch.packing is not None
    first = Pass(batch.packing.prompts)
    embeddings_1ND = causal_lm(scorer.model).get_input_embeddings()(batch.ids_XL)
    scorer.packed_hidden(batch, batch.passes(embeddings_1ND), first)
    window, told = getattr(config, "sliding_window", None), list(first.windows.values())
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * len(told)
    has_told = told == [window if kind == "sliding_attention" else None for kind in kinds]
    most = None if longest is None else longest.tokens
    return obstacle_of_window(config, most, kept=("sliding_window",) if has_told else ())


def obstacle_to_sharing(scorer: Scorer, layout: Layout = "shared") -> str | None:
    """Why responses cannot share what is computed of their prompt, tried in that layout; None where they can."""
    try:
        batch = _batch(scorer, layout)
        for own_XL, seen_XL in _kept_apart(batch):
            if _flows(scorer, batch, own_XL, ~seen_XL):
                return "one response would leak into the other"
        if _ignores_positions(scorer, batch):
            return "its positions cannot restart after the prompt"
        difference = difference_from_logits(scorer, layout)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, AssertionError) as error:
        if layout == "packed":
            return f"its attention cannot be told what to look at ({type(error).__name__} in its forward pass)"
        return f"it takes no such mask ({type(error).__name__} in its forward pass)"
    return None if difference <= tolerance(scorer) else f"its log-probs would differ by {difference:.2g} nats"


def _flows(scorer: Scorer, batch: Batch, looked_XL: Tensor, forbidden_XL: Tensor) -> bool:
    """Whether the hidden states at `looked_XL` depend on the tokens at `forbidden_XL`.

    A gradient says so exactly: behind a mask it is 0, not small. (Values would differ by rounding in a mixture of
    experts, where other tokens change the shapes of the products.)
    """
    with torch.enable_grad():
        embeddings_XLD = causal_lm(scorer.model).get_input_embeddings()(batch.ids_XL).detach().requires_grad_()
        hidden_ND = scorer.hidden(batch, embeddings_XLD.clone())[looked_XL].float()
        weights_ND = torch.linspace(-1, 1, hidden_ND.numel(), device=hidden_ND.device).view_as(hidden_ND)
        (gradient_XLD,) = torch.autograd.grad((hidden_ND * weights_ND).sum(), embeddings_XLD)
    return bool((gradient_XLD[forbidden_XL] != 0).any())  # NaN flows too


def _kept_apart(batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of [X, L] bool: tokens, and all that they may depend on; a packed row holds both examples."""
    for response in (0, 1):
        own_XL = _tokens(batch, slice(None), response)
        yield own_XL, own_XL | _prompt(batch)
    if batch.packing is not None:
        for example in (0, 1):
            own_XL = _tokens(batch, example, slice(None)) | _prompt(batch, example)
            yield own_XL, own_XL


def _prompt(batch: Batch, example: int | slice = slice(None)) -> Tensor:
    """[X, L] bool; True on the prompts, which are equally long and all different here; of one example if packed."""
    length = batch.prompt_mask_BP.shape[1]
    place_L = torch.arange(batch.ids_XL.shape[1], device=batch.ids_XL.device)
    if batch.packing is not None:
        first = 0 if isinstance(example, slice) else example * length
        stop = batch.packing.num_prompt if isinstance(example, slice) else first + length
        return ((place_L >= first) & (place_L < stop))[None]
    return (place_L < length).expand_as(batch.ids_XL)


def _tokens(batch: Batch, example: int | slice, response: int | slice) -> Tensor:
    """[X, L] bool; True on the tokens of responses."""
    mask = batch.mask_BRT[example, response]
    chosen_XL = torch.zeros_like(batch.ids_XL, dtype=torch.bool)
    chosen_XL[batch.row_BRT[example, response][mask], batch.place_BRT[example, response][mask]] = True
    return chosen_XL


@torch.no_grad()
def _ignores_positions(scorer: Scorer, batch: Batch) -> bool:
    """Whether other position numbers change nothing at all: then they come from the place in the row (ALiBi)."""
    running_XL = torch.arange(batch.ids_XL.shape[1], device=batch.ids_XL.device).expand_as(batch.ids_XL)
    restarted, running = (scorer(b, Want()).logp_BRT for b in (batch, replace(batch, positions_XL=running_XL)))
    return torch.equal(restarted, running)


# --- randomness ---


@torch.no_grad()
def require_steady(scorer: Scorer) -> None:
    """Refuses a model that is not itself in the mode it is trained in.

    Drawing numbers is enough: PhiMoE's router uses them only where two experts are close.

    Raises:
        ModelError: it draws random numbers, or differs from the model in evaluation mode.
    """
    was_training = scorer.training
    with refusing(scorer), torch.random.fork_rng():
        batch = _batch(scorer, "separate")
        wanted_BRT = scorer.eval()(batch, Want()).logp_BRT
        before = _random_state(batch.ids_XL.device)
        found_BRT = scorer.train(was_training)(batch, Want()).logp_BRT
        is_random = not torch.equal(_random_state(batch.ids_XL.device), before)
    if is_random or not (found_BRT - wanted_BRT).abs().max() <= tolerance(scorer):
        raise ModelError(
            f"model.gradient_checkpointing: {causal_lm(scorer.model).config.model_type} draws at random in training "
            "mode (dropout or router noise that cannot be switched off), the only mode that recomputes activations; "
            "set it to false"
        )


def _random_state(device: torch.device) -> Tensor:
    state: Tensor = (torch if device.type == "cpu" else torch.get_device_module(device)).get_rng_state()
    return state


# --- a comparison of values, behind the exact tests ---


def tolerance(scorer: Scorer) -> float:
    """Largest difference of a log-prob that rounding explains; nats."""
    return 1e-3 if causal_lm(scorer.model).dtype == torch.float32 else 0.2


@torch.no_grad()
def difference_from_logits(scorer: Scorer, layout: Layout) -> float:
    """Largest difference between our log-probs and those of the model's own forward pass on each unpadded row."""
    examples = _examples(scorer)
    device = causal_lm(scorer.model).device
    ours_BRT = scorer(collate(examples, layout, pad_id=1, device=device), Want()).logp_BRT
    worst = []
    for ours_RT, example in zip(ours_BRT, examples, strict=True):
        for ours_T, response in zip(ours_RT, example.responses, strict=True):
            ids = np.concatenate([example.prompt, response])
            raw_1LV = _own_forward(scorer, ids).raw_1LV
            assert raw_1LV is not None
            logp_TV = scorer.transform.bend(raw_1LV[0, len(example.prompt) - 1 : -1]).log_softmax(-1)
            theirs_T = logp_TV.gather(-1, torch.from_numpy(response[:, None]).to(device)).squeeze(-1)
            worst.append((theirs_T - ours_T[: len(response)]).abs().max())
    return float(torch.stack(worst).max())  # NaN stays NaN


def _examples(scorer: Scorer) -> list[Example]:
    """Two examples of made-up tokens, ragged; at most 12 places in a shared row, which any position table has."""
    vocabulary = min(int(causal_lm(scorer.model).config.get_text_config().vocab_size), 97)
    prompt, first, second = (np.arange(start, start + 4) * 7 % vocabulary for start in (1, 6, 11))
    return [Example(prompt, [first, second[:3]]), Example(prompt[::-1].copy(), [second[:2], first[:1]])]


def _batch(scorer: Scorer, layout: Layout) -> Batch:
    return collate(_examples(scorer), layout, pad_id=1, device=causal_lm(scorer.model).device)
