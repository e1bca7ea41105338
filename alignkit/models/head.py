"""Log-probs without logits: the LM head runs on the positions that predict a response token, chunk by chunk.

The full [tokens, vocabulary] matrix never exists; in the backward pass each chunk's logits are computed again. What
needs the whole vocabulary (a KL, a maximum, a draw) is reduced inside the chunk. Everything is reduced in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from alignkit.lazy import torch, transformers

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Predictions:
    """Next-token distributions, as hidden states and the head that turns them into logits.

    Attributes:
        hidden_ND: [N, D] hidden states.
        head: linear layer D -> V.
    """

    hidden_ND: Tensor
    head: nn.Module

    def logits(self, start: int = 0, stop: int | None = None) -> Tensor:
        """[n, V] float32 logits of the positions `start` to `stop`."""
        logits: Tensor = self.head(self.hidden_ND[start:stop])
        return logits.float()


class TokenLogps(NamedTuple):
    """What the head says of N tokens; nats, float32.

    Attributes:
        logp_N: [N] their log-probs.
        kl_N: [N] KL(other || predictions), or None.
        policy_kl_N: [N] KL(predictions || other), or None.
        collision_N: [N] log of the sum over the vocabulary of squared probabilities, without gradient, or None.
    """

    logp_N: Tensor
    kl_N: Tensor | None = None
    policy_kl_N: Tensor | None = None
    collision_N: Tensor | None = None


def token_logps(
    predictions: Predictions,
    ids_N: Tensor,
    chunk: int,
    other: Predictions | None = None,
    *,
    policy_kl: bool = False,
    collision: bool = False,
) -> TokenLogps:
    """Log-probs of tokens and what else needs the vocabulary.

    Args:
        predictions: of the model that is scored, with gradient where gradient is enabled.
        ids_N: [N] int64 tokens to score.
        chunk: positions whose logits exist at once.
        other: predictions of another model at the same positions, without gradient.
        policy_kl: also KL(predictions || other).
        collision: also the sum of squared probabilities.

    Returns:
        The log-probs, KL(other || predictions) when there is an `other`, and what was asked for.
    """
    num_positions = len(ids_N)
    pieces = []
    for start in range(0, max(num_positions, 1), chunk):  # one empty chunk of no positions
        arguments = (predictions, ids_N[start : start + chunk], start, start + chunk, other, policy_kl, collision)
        if torch.is_grad_enabled() and num_positions > chunk:
            pieces.append(torch.utils.checkpoint.checkpoint(_chunk_logps, *arguments, use_reentrant=False))
        else:
            pieces.append(_chunk_logps(*arguments))
    logps, *others = zip(*pieces, strict=True)
    return TokenLogps(torch.cat(logps), *(None if column[0] is None else torch.cat(column) for column in others))


def _chunk_logps(
    predictions: Predictions,
    ids_N: Tensor,
    start: int,
    stop: int,
    other: Predictions | None,
    policy_kl: bool,
    collision: bool,
) -> TokenLogps:
    logits_NV = predictions.logits(start, stop)
    collision_N = _collision(logits_NV.detach()) if collision else None
    if other is None:  # log-softmax of one column: the [N, V] matrix of log-probs is not needed
        chosen_N = logits_NV.gather(-1, ids_N[:, None]).squeeze(-1)
        return TokenLogps(chosen_N - logits_NV.logsumexp(-1), collision_N=collision_N)
    logp_NV = logits_NV.log_softmax(-1)
    other_NV = other.logits(start, stop).log_softmax(-1).detach()
    return TokenLogps(
        logp_N=logp_NV.gather(-1, ids_N[:, None]).squeeze(-1),
        kl_N=(other_NV.exp() * (other_NV - logp_NV)).sum(-1),
        policy_kl_N=(logp_NV.exp() * (logp_NV - other_NV)).sum(-1) if policy_kl else None,
        collision_N=collision_N,
    )


def _collision(logits_NV: Tensor) -> Tensor:
    """[N] log of the sum of squared probabilities."""
    return (2 * logits_NV).logsumexp(-1) - 2 * logits_NV.logsumexp(-1)


def contrastive_logps(
    positive: Predictions, negative: Predictions, ids_N: Tensor, chunk: int, strength: float
) -> Tensor:
    """[N] log-probs of tokens under softmax((1 + strength) * z+ - strength * z-), nats.

    Args:
        positive: predictions z+ of one model.
        negative: predictions z- of another at the same positions.
        ids_N: [N] int64 tokens to score.
        chunk: positions whose logits exist at once.
        strength: how far to go beyond the positive model.
    """
    pieces = [ids_N.new_zeros(0, dtype=torch.float32)]
    for start in range(0, len(ids_N), chunk):
        stop = start + chunk
        logits_NV = (1 + strength) * positive.logits(start, stop) - strength * negative.logits(start, stop)
        pieces.append(logits_NV.log_softmax(-1).gather(-1, ids_N[start:stop, None]).squeeze(-1))
    return torch.cat(pieces)


@dataclass(frozen=True)
class Draw:
    """How a token is drawn from a distribution, with the randomness given from outside.

    Attributes:
        temperature: divides the logits.
        top_k: keep the k likeliest tokens; None keeps all.
        top_p: keep the likeliest tokens that together reach this probability; None keeps all.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __call__(self, logits_NV: Tensor, uniform_N: Tensor) -> Tensor:
        """[N] int64 tokens: the inverse of the cumulative distribution at `uniform_N` in [0, 1).

        One number per draw, fixed beforehand, makes a sample independent of what else is in the batch.
        """
        # The warpers ignore their first argument (the ids so far).
        scores_NV = transformers.TemperatureLogitsWarper(self.temperature)(None, logits_NV.float())
        if self.top_k is not None:
            scores_NV = transformers.TopKLogitsWarper(min(self.top_k, scores_NV.shape[-1]))(None, scores_NV)
        shares_NV = _shares(scores_NV.softmax(-1))
        if self.top_p is not None and self.top_p < 1:
            shares_NV = _nucleus(shares_NV, self.top_p)
        cumulative_NV = shares_NV.cumsum(-1)
        target_N1 = _part_of(cumulative_NV[:, -1:], uniform_N[:, None])
        tokens_N: Tensor = torch.searchsorted(cumulative_NV, target_N1, right=True).squeeze(-1)
        return tokens_N


# Probabilities are added up as whole numbers: exactly, so in any order and on any device with the same result, and
# without the float64 that some devices lack.


def _shares(probability_NV: Tensor) -> Tensor:
    """[N, V] int64 probabilities in units of 2**-60, which every float32 above 2**-37 is a multiple of."""
    return (probability_NV * 2.0**60).long()


def _nucleus(shares_NV: Tensor, top_p: float) -> Tensor:
    """0 but for the likeliest tokens that together reach `top_p`; the last of them is kept."""
    sorted_NV, order_NV = shares_NV.sort(dim=-1, descending=True, stable=True)
    before_NV = sorted_NV.cumsum(-1) - sorted_NV
    reached_N1 = _part_of(shares_NV.sum(-1, keepdim=True), torch.tensor(top_p, device=shares_NV.device))
    return torch.zeros_like(shares_NV).scatter(-1, order_NV, sorted_NV.masked_fill(before_NV >= reached_N1, 0))


def _part_of(total_N1: Tensor, part: Tensor) -> Tensor:
    """[N, 1] int64 `part` (in [0, 1), to 24 bits) of totals below 2**61, always smaller than the total."""
    part_24 = (part * 2.0**24).long()
    return (total_N1 >> 24) * part_24 + (((total_N1 & (2**24 - 1)) * part_24) >> 24)
