"""Log-probs without logits: the LM head runs on the positions that predict a response token, chunk by chunk.

No more of the [tokens, vocabulary] matrix exists than a chunk. What needs the whole vocabulary (a KL, a maximum, a
draw) is reduced inside the chunk. Everything is reduced in float32. A plain linear layer takes the short way of
`alignkit.models.fused`; other heads, and statistics that are trained through, take autograd's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignkit.lazy import torch
from alignkit.models.fused import LinearHead, linear_logps, plain_linear
from alignkit.models.statistics import Statistic, Vocabulary

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
        hidden_ND = self.divided(hidden_ND)
        weight = getattr(head, "weight", None)
        if weight is not None and weight.is_floating_point():  # Mamba's last norm gives float32 in a bf16 model
            hidden_ND = hidden_ND.to(weight.dtype)
        return self.bend(head(hidden_ND))

    def divided(self, hidden_ND: Tensor) -> Tensor:
        """What happens before the head."""
        return hidden_ND if self.divisor == 1 else hidden_ND / self.divisor

    def bend(self, logits_NV: Tensor) -> Tensor:
        """What happens behind the head, in float32."""
        logits_NV = logits_NV.float()
        if self.scale != 1:
            logits_NV = logits_NV * self.scale
        return logits_NV if self.softcap is None else self.softcap * torch.tanh(logits_NV / self.softcap)


@dataclass(frozen=True)
class Head:
    """From hidden states to float32 logits, D -> V.

    Attributes:
        linear: the model's LM head.
        transform: what the model does around it.
    """

    linear: nn.Module
    transform: HeadTransform

    def __call__(self, hidden_ND: Tensor) -> Tensor:
        """[N, V] logits."""
        return self.transform.logits(self.linear, hidden_ND)


@dataclass(frozen=True)
class Predictions:
    """Next-token distributions, as hidden states and the head that turns them into logits.

    Attributes:
        hidden_ND: [N, D] hidden states.
        head: D -> V, with what the model does around it (`HeadTransform`).
        temperature: divides the logits.
    """

    hidden_ND: Tensor
    head: Callable[[Tensor], Tensor]
    temperature: float = 1.0

    def logits(self, start: int = 0, stop: int | None = None) -> Tensor:
        """[n, V] float32 logits of the positions `start` to `stop`."""
        logits: Tensor = self.head(self.hidden_ND[start:stop])
        return logits.float() if self.temperature == 1 else logits.float() / self.temperature


def token_logps(
    predictions: Predictions,
    ids_N: Tensor,
    chunk: int,
    statistics: Sequence[Statistic] = (),
    reference: Predictions | None = None,
) -> tuple[Tensor, dict[Statistic, Tensor]]:
    """Log-probs of tokens, and what else the vocabulary is asked.

    Args:
        predictions: of the model that is scored, with gradient where gradient is enabled.
        ids_N: [N] int64 tokens to score.
        chunk: positions whose logits exist at once.
        statistics: what to reduce the vocabulary to, beside the log-probs.
        reference: predictions of the reference at the same positions, for statistics that read it.

    Returns:
        [N] log-probs, nats, float32; and statistic -> [N] its value.
    """
    reads_reference = reference is not None and any(statistic.reads_reference for statistic in statistics)
    theirs = reference.logits if reference is not None and reads_reference else None
    is_trained_through = torch.is_grad_enabled() and any(statistic.has_gradient for statistic in statistics)
    short = None if is_trained_through else _linear(predictions)
    if short is not None:
        logp_N, values = linear_logps(*short, ids_N, chunk, statistics, theirs)
        return logp_N, dict(zip(statistics, values, strict=True))
    num_positions = len(ids_N)
    pieces = []
    for start in range(0, max(num_positions, 1), chunk):  # one empty chunk of no positions
        arguments = (predictions, ids_N[start : start + chunk], start, start + chunk, statistics, theirs)
        if torch.is_grad_enabled() and num_positions > chunk:
            pieces.append(torch.utils.checkpoint.checkpoint(_chunk, *arguments, use_reentrant=False))
        else:
            pieces.append(_chunk(*arguments))
    logp_N, *values = (torch.cat(column) for column in zip(*pieces, strict=True))
    return logp_N, dict(zip(statistics, values, strict=True))


def _linear(predictions: Predictions) -> tuple[LinearHead, Tensor] | None:
    """The head as a plain linear layer and the hidden states that it gets; None where it is more than that."""
    head = predictions.head
    transform = head.transform if isinstance(head, Head) else HeadTransform()
    linear = plain_linear(head.linear if isinstance(head, Head) else head)
    if linear is None:
        return None
    plain = LinearHead(linear.weight, linear.bias, transform.scale, transform.softcap, predictions.temperature)
    return plain, transform.divided(predictions.hidden_ND)


def _chunk(
    predictions: Predictions,
    ids_N: Tensor,
    start: int,
    stop: int,
    statistics: Sequence[Statistic],
    reference_logits: Callable[[int, int], Tensor] | None,
) -> tuple[Tensor, ...]:
    """Log-probs and statistics of the positions `start` to `stop`."""
    with torch.no_grad():
        theirs_NV = None if reference_logits is None else reference_logits(start, stop)
    vocabulary = Vocabulary(predictions.logits(start, stop), theirs_NV, ids_N)
    values = [statistic.reduce(vocabulary) for statistic in statistics]
    return vocabulary.of(ids_N), *values


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
        vocabulary = logits_NV.shape[-1]
        if self.top_k is None or self.top_k >= vocabulary:
            return self.among(self.probabilities(logits_NV), uniform_N)
        ids_NK = _likeliest(logits_NV, self.top_k).sort(dim=-1).values  # in the vocabulary's order, as without a cut
        place_N = self.among(self.probabilities(logits_NV.gather(-1, ids_NK)), uniform_N)
        return ids_NK.gather(-1, place_N[:, None]).squeeze(-1)

    def probabilities(self, logits_NV: Tensor) -> Tensor:
        """[N, V] float32 at the temperature, before any cut."""
        logits_NV = logits_NV.float()
        return (logits_NV if self.temperature == 1 else logits_NV / self.temperature).softmax(-1)

    def among(self, probability_NV: Tensor, uniform_N: Tensor) -> Tensor:
        """[N] int64 places drawn from these probabilities, after the cut of top-p."""
        shares_NV = _shares(probability_NV)
        if self.top_p is not None and self.top_p < 1:
            shares_NV = _nucleus(shares_NV, self.top_p)
        cumulative_NV = shares_NV.cumsum(-1)
        target_N1 = _part_of(cumulative_NV[:, -1:], uniform_N[:, None])
        place_N1 = torch.searchsorted(cumulative_NV, target_N1, right=True)
        return place_N1.clamp_max(cumulative_NV.shape[-1] - 1).squeeze(-1)  # of NaN, which is looked for later


def _likeliest(logits_NV: Tensor, count: int) -> Tensor:
    """[N, count] int64 the tokens with the largest logits, of equals the first.

    They lie in the blocks with the `count` largest maxima, so that the vocabulary is looked through once.
    """
    vocabulary = logits_NV.shape[-1]
    if vocabulary < 8 * count:
        return _largest(logits_NV, count)
    width = 2 ** round(math.log2(vocabulary / count) / 2)  # about as many maxima as tokens in those blocks
    if missing := -vocabulary % width:
        logits_NV = torch.nn.functional.pad(logits_NV, (0, missing), value=-torch.inf)
    blocks_NCW = logits_NV.view(len(logits_NV), -1, width)
    block_NK = _largest(blocks_NCW.amax(-1), count).sort(dim=-1).values
    ids_NK = (block_NK[..., None] * width + torch.arange(width, device=logits_NV.device)).flatten(1)
    chosen_NKW = blocks_NCW.gather(1, block_NK[..., None].expand(-1, -1, width))
    found_NK: Tensor = ids_NK.gather(-1, _largest(chosen_NKW.flatten(1), count))
    return found_NK


def _largest(values_NV: Tensor, count: int) -> Tensor:
    """[N, count] int64 places of the largest values, of equals the first: as whole numbers that all differ."""
    bits_NV = (values_NV.float() + 0.0).view(torch.int32).long()  # of 0 and -0 the same
    order_NV = torch.where(bits_NV < 0, bits_NV ^ 0x7FFFFFFF, bits_NV)  # as the values are ordered
    places_V = torch.arange(values_NV.shape[-1], device=values_NV.device)
    return ((order_NV << 32) - places_V).topk(count, dim=-1).indices


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
