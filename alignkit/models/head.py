"""Log-probs without logits: the LM head runs on the positions that predict a response token, chunk by chunk.

The full [tokens, vocabulary] matrix never exists; in the backward pass each chunk's logits are computed again. What
needs the whole vocabulary (a KL, a maximum, a draw) is reduced inside the chunk. Everything is reduced in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from alignkit.lazy import torch, transformers

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class HeadTransform:
    """What a model does around its LM head: logits = cap(scale * head(hidden / divisor)), cap(z) = c * tanh(z / c).

    Attributes:
        divisor: of the hidden states (MiniCPM 3).
        scale: factor of the logits (Cohere, Granite, Falcon-H1).
        softcap: bound c of the logits' size (Gemma 2, 3n and 4, RecurrentGemma, nanochat); None where there is none.
    """

    divisor: float = 1.0
    scale: float = 1.0
    softcap: float | None = None

    def logits(self, head: nn.Module, hidden_ND: Tensor) -> Tensor:
        """[N, V] float32 logits of the hidden states under the linear layer `head`."""
        if self.divisor != 1:
            hidden_ND = hidden_ND / self.divisor
        weight = getattr(head, "weight", None)
        if weight is not None and weight.is_floating_point():  # Mamba's last norm gives float32 in a bf16 model
            hidden_ND = hidden_ND.to(weight.dtype)
        return self.bend(head(hidden_ND))

    def bend(self, logits_NV: Tensor) -> Tensor:
        """What happens behind the head, in float32."""
        logits_NV = logits_NV.float()
        if self.scale != 1:
            logits_NV = logits_NV * self.scale
        return logits_NV if self.softcap is None else self.softcap * torch.tanh(logits_NV / self.softcap)


@dataclass(frozen=True)
class Predictions:
    """Next-token distributions, as hidden states and the head that turns them into logits.

    Attributes:
        hidden_ND: [N, D] hidden states.
        head: D -> V, with what the model does around it (`HeadTransform`).
    """

    hidden_ND: Tensor
    head: Callable[[Tensor], Tensor]

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
        if self.top_p is not None and self.top_p < 1:
            scores_NV = transformers.TopPLogitsWarper(self.top_p)(None, scores_NV)
        cumulative_NV = scores_NV.softmax(-1).double().cumsum(-1)
        # Scaled to the total, so that rounding can never point behind the last possible token.
        target_N1 = uniform_N[:, None].to(cumulative_NV) * cumulative_NV[:, -1:]
        tokens_N: Tensor = torch.searchsorted(cumulative_NV, target_N1, right=True).squeeze(-1)
        return tokens_N
