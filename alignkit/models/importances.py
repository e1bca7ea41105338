"""The gradient of a target by the input embeddings, token by token, on the graph of the training forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from alignkit.lazy import torch
from alignkit.models.attribution import Attribution
from alignkit.models.layout import Batch
from alignkit.models.scorer import Scored

if TYPE_CHECKING:
    from torch import Tensor


def importances(
    scored: Scored,
    batch: Batch,
    num_responses: int,
    *,
    full_sequence: bool = False,
    against: Mapping[Attribution, tuple[Tensor, Tensor]] | None = None,
) -> dict[Attribution, Tensor]:
    """How much each token's embedding moves the targets, on the graph of the training forward.

    Takes the gradient of the summed targets by the input embeddings and keeps the graph for the training backward;
    parameter gradients are neither computed nor touched. By causality a response's target depends on the prompt and on
    that response alone, so one pass serves all responses.

    Args:
        scored: a forward pass, with the attributions that are wanted.
        batch: what was scored; separate rows when `full_sequence`, because a shared prompt mixes its responses.
        num_responses: attribute the first so many responses of each example (an anchor gets no weights).
        full_sequence: put the prompt's importances first.
        against: attribution -> gradient and embeddings, [X, L, D] each, of the other model of a log-ratio.

    Returns:
        attribution -> [B, R, S] float32 >= 0, 0 off the mask; S = T, or P + T with `full_sequence`.
    """
    found = {}
    for attribution, targets_BR in scored.targets.items():
        assert scored.embeddings_XLD is not None
        total = targets_BR[:, :num_responses].sum()
        (gradient_XLD,) = torch.autograd.grad(total, scored.embeddings_XLD, retain_graph=True)
        mine = (gradient_XLD, scored.embeddings_XLD.detach())
        placed = partial(_placed, batch=batch, num_responses=num_responses, full_sequence=full_sequence)
        theirs = (against or {}).get(attribution)
        if theirs is None:
            found[attribution] = placed(_sizes(attribution, [mine]))
        else:
            size_BRS = placed(_sizes(attribution, [mine, theirs]))
            scale_BRS = placed(_sizes(attribution, [mine]) + _sizes(attribution, [theirs]))
            found[attribution] = _without_rounding(size_BRS, scale_BRS)
    return found


ROUNDING = 1e-4
"""Share of the two models' gradients below which their difference is rounding: the policy has not moved yet."""


def _without_rounding(size_BRS: Tensor, scale_BRS: Tensor) -> Tensor:
    """0 for a whole response whose two gradients do not differ: shares of noise would look like weights."""
    is_noise_BR1 = size_BRS.sum(-1, keepdim=True) <= ROUNDING * scale_BRS.sum(-1, keepdim=True)
    return size_BRS.masked_fill(is_noise_BR1, 0.0)


def _placed(size_XL: Tensor, batch: Batch, num_responses: int, full_sequence: bool) -> Tensor:
    """[B, R, S] sizes at the tokens of each response, the prompt's before them if asked for."""
    # Of a packed row, the sizes begin behind the prompts.
    size_XL = torch.nn.functional.pad(size_XL, (batch.ids_XL.shape[1] - size_XL.shape[1], 0))
    size_BRT = size_XL[batch.row_BRT, batch.place_BRT].masked_fill(~batch.mask_BRT, 0.0)[:, :num_responses]
    if not full_sequence:
        return size_BRT
    return torch.cat([_prompt_sizes(size_XL, batch)[:, :num_responses], size_BRT], dim=-1)


def _sizes(attribution: Attribution, parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """[X, L] size of a target's gradient; of a log-ratio the first part is the policy's, the second is subtracted."""
    parts = [(gradient_XLD.float(), embeddings_XLD.float()) for gradient_XLD, embeddings_XLD in parts]
    if attribution.norm == "grad_x_input":
        first_XL, *second = [(gradient_XLD * embeddings_XLD).sum(-1) for gradient_XLD, embeddings_XLD in parts]
        return (first_XL - sum(second)).abs()
    (gradient_XLD, _), *others = parts
    for other_XLD, _ in others:
        gradient_XLD = gradient_XLD - other_XLD
    size_XL: Tensor = torch.linalg.vector_norm(gradient_XLD, ord=1 if attribution.norm == "l1" else 2, dim=-1)
    return size_XL


def _prompt_sizes(size_XL: Tensor, batch: Batch) -> Tensor:
    """[B, R, P] importances of the prompt tokens of each response's own row."""
    num_examples, num_responses, _ = batch.mask_BRT.shape
    assert size_XL.shape[0] == num_examples * num_responses, "a shared prompt mixes its responses"
    mask_BP = batch.prompt_mask_BP
    size_BRP = size_XL[:, : mask_BP.shape[-1]].view(num_examples, num_responses, -1)
    return size_BRP.masked_fill(~mask_BP[:, None], 0.0)
