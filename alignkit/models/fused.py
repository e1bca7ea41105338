"""Log-probs of tokens under a plain linear head, by hand: each [tokens, vocabulary] matrix is made once and in place.

The gradient of a log-prob is one number, that comes from behind, times what is known in the forward pass: by the hidden
state a vector of D, by the logits 1 at the token minus the probabilities. So the forward pass ends with the former at
hand, and the backward pass is one product for the weight, of probabilities that are kept where they are few enough and
computed again where they are not. Nothing that is kept is written to: a graph may be traversed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from alignkit.lazy import torch
from alignkit.models.statistics import Statistic, Vocabulary

if TYPE_CHECKING:
    from torch import Tensor, nn

_CACHED = 2**21
"""Logits that a CPU computes again at once: few enough that what comes next reads them from its cache."""


@dataclass(frozen=True)
class LinearHead:
    """A linear layer and what happens to its output: logits = cap(scale * (W h + b)) / temperature.

    Attributes:
        weight_VD: [V, D].
        bias_V: [V] or None.
        scale: factor of the layer's output.
        softcap: bound c of what follows, c * tanh(z / c); None where there is none.
        temperature: divides what follows.
    """

    weight_VD: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0

    @property
    def factor(self) -> float:
        """Slope of the logits by the layer's output, but for the cap's."""
        return self.scale / self.temperature

    def in_precision(self) -> LinearHead:
        """Without gradient, in the number format that products are computed in: autocast's where it is on."""
        device = self.weight_VD.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight_VD.dtype
        bias_V = None if self.bias_V is None else self.bias_V.detach().to(dtype)
        return replace(self, weight_VD=self.weight_VD.detach().to(dtype), bias_V=bias_V)

    def logits(self, hidden_ND: Tensor, tokens: slice, out: Tensor) -> Tensor:
        """[N, v] logits of some tokens, at least float32; in `out` where that has their format."""
        if self.bias_V is None:
            raw_Nv = torch.mm(hidden_ND, self.weight_VD[tokens].T, out=out)
        else:
            raw_Nv = torch.addmm(self.bias_V[tokens], hidden_ND, self.weight_VD[tokens].T, out=out)
        logits_Nv: Tensor = raw_Nv.to(torch.promote_types(raw_Nv.dtype, torch.float32))
        if self.scale != 1:
            logits_Nv.mul_(self.scale)
        if self.softcap is not None:
            logits_Nv.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits_Nv if self.temperature == 1 else logits_Nv.div_(self.temperature)

    def slope_of_cap(self, logits_Nv: Tensor) -> Tensor | None:
        """[N, v] slope of the cap where it gave these logits; None without one."""
        if self.softcap is None:
            return None
        return 1 - (logits_Nv * (self.temperature / self.softcap)).square_()


def plain_linear(head: object) -> nn.Linear | None:
    """`head` where it is a linear layer that is no more than its weight: not quantised, sharded, adapted or hooked."""
    if type(head) is not torch.nn.Linear or head._forward_hooks or head._forward_pre_hooks or "forward" in vars(head):
        return None  # accelerate hooks a module by another `forward`
    weights = [head.weight] if head.bias is None else [head.weight, head.bias]
    is_plain = all(type(one) in (torch.nn.Parameter, torch.Tensor) and one.is_floating_point() for one in weights)
    return head if is_plain else None


def linear_logps(
    head: LinearHead,
    hidden_ND: Tensor,
    ids_N: Tensor,
    chunk: int,
    statistics: Sequence[Statistic] = (),
    reference_logits: Callable[[int, int], Tensor] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Log-probs of tokens, with first derivatives by hidden states, weight and bias; statistics without.

    Args:
        head: the head.
        hidden_ND: [N, D] hidden states.
        ids_N: [N] int64 tokens to score.
        chunk: positions whose logits exist at once; where there are no more, one such matrix is kept for the backward
            pass.
        statistics: what to reduce the vocabulary to.
        reference_logits: from start and stop to the reference's logits there, for statistics that read it.

    Returns:
        [N] log-probs, nats, float32 (float64 for a head in float64); and [N] of each statistic.
    """
    weights = [one for one in (head.weight_VD, head.bias_V) if one is not None]
    trains_head = torch.is_grad_enabled() and any(one.requires_grad for one in weights)
    trains_body = torch.is_grad_enabled() and hidden_ND.requires_grad
    plain, device = head.in_precision(), hidden_ND.device.type
    if reference_logits is not None:  # as it is here, also inside
        reference_logits = torch.autocast(device, enabled=torch.is_autocast_enabled(device))(reference_logits)
    with torch.no_grad(), torch.autocast(device, enabled=False):
        states_ND = hidden_ND.detach().to(plain.weight_VD.dtype)
        rows = _Rows(plain, states_ND, ids_N, chunk, trains_body, trains_head and len(ids_N) <= chunk)
        values = rows.fill(statistics, reference_logits)
    logp_N = rows.logp_N
    if rows.direction_ND is not None:
        logp_N = _node().apply(logp_N, _by_hidden, (rows.direction_ND,), hidden_ND)
    if trains_head:
        saved = (plain.weight_VD, plain.bias_V, states_ND, ids_N, rows.total_N, rows.minus_slope_NV)
        settings = {"scale": plain.scale, "softcap": plain.softcap, "temperature": plain.temperature}
        backward = partial(_by_head, settings, chunk)
        logp_N = logp_N + _node().apply(torch.zeros_like(logp_N), backward, saved, *weights)
    return logp_N, values


class _Rows:
    """The forward pass, some positions at a time, and what it leaves for the backward pass.

    Attributes:
        logp_N: [N] log-probs.
        total_N: [N] logarithms of the sums of the exponentiated logits.
        direction_ND: [N, D] gradient of each log-prob by its hidden state; None where it is not wanted.
        minus_slope_NV: [N, V] minus the gradient of each log-prob by what the layer gives, but for the head's factor;
            None where it is not kept.
    """

    def __init__(
        self, head: LinearHead, hidden_ND: Tensor, ids_N: Tensor, chunk: int, trains_body: bool, keeps: bool
    ) -> None:
        self.head, self.hidden_ND, self.ids_N, self.chunk, self.keeps = head, hidden_ND, ids_N, chunk, keeps
        dtype = torch.promote_types(hidden_ND.dtype, torch.float32)
        self.logp_N, self.total_N = (hidden_ND.new_empty(len(ids_N), dtype=dtype) for _ in range(2))
        self.direction_ND = torch.empty_like(hidden_ND) if trains_body else None
        self.minus_slope_NV: Tensor | None = None

    def fill(
        self, statistics: Sequence[Statistic], reference_logits: Callable[[int, int], Tensor] | None
    ) -> list[Tensor]:
        """Goes through the positions; gives [N] of each statistic."""
        num, size = len(self.ids_N), len(self.head.weight_VD)
        buffer_cV = self.hidden_ND.new_empty(min(self.chunk, num), size)
        columns = []
        for start in range(0, max(num, 1), self.chunk):  # one empty chunk of no positions
            stop = min(start + self.chunk, num)
            logits_cV = self.head.logits(self.hidden_ND[start:stop], slice(0, size), buffer_cV[: stop - start])
            theirs_cV = None if reference_logits is None else reference_logits(start, stop)
            vocabulary = Vocabulary(logits_cV, theirs_cV, self.ids_N[start:stop])
            # Copies, as the logits give way to the probabilities.
            columns.append([statistic.reduce(vocabulary).clone() for statistic in statistics])
            self._score(logits_cV, slice(start, stop))
        return [torch.cat(column) for column in zip(*columns, strict=True)]

    def _score(self, logits_cV: Tensor, rows: slice) -> None:
        ids_c, needs_slope = self.ids_N[rows], self.keeps or self.direction_ND is not None
        token_c, most_c = logits_cV.gather(-1, ids_c[:, None]).squeeze(-1), logits_cV.amax(-1)
        bent_cV = self.head.slope_of_cap(logits_cV) if needs_slope else None
        # In place on a CPU, whose kernel goes from row to row.
        out = logits_cV if logits_cV.device.type == "cpu" else None
        probability_cV = torch.softmax(logits_cV, -1, out=out)
        # The largest probability is not small, so that its logarithm is exact.
        total_c = most_c - probability_cV.amax(-1).log()
        self.total_N[rows], self.logp_N[rows] = total_c, token_c - total_c
        if not needs_slope:
            return
        slope_cV = _minus_slope(probability_cV, ids_c, bent_cV).to(self.hidden_ND.dtype)
        if self.direction_ND is not None:
            torch.mm(slope_cV, self.head.weight_VD, out=self.direction_ND[rows]).mul_(-self.head.factor)
        if self.keeps:
            self.minus_slope_NV = slope_cV


def _minus_slope(probability_Nv: Tensor, ids_N: Tensor, bent_Nv: Tensor | None, start: int = 0) -> Tensor:
    """Minus the gradient of log-probs by what the layer gives for the tokens from `start` on, in place."""
    width, place_N = probability_Nv.shape[-1], ids_N - start
    is_among_N = (place_N >= 0) & (place_N < width)
    row_N = torch.arange(len(ids_N), device=ids_N.device)
    probability_Nv[row_N, place_N.clamp(0, width - 1)] -= is_among_N.to(probability_Nv.dtype)
    return probability_Nv if bent_Nv is None else probability_Nv.mul_(bent_Nv)


# Two nodes of the graph, so that a traversal that asks for gradients by embeddings never computes the weight's.


@cache
def _node() -> Any:  # noqa: ANN401 -- the type of `apply`
    """A function whose backward pass is handed to it; made at first use, because that loads torch."""

    class Node(torch.autograd.Function):
        """Gives `value_N`, whose gradients by `inputs` are `backward(gradient_N, *saved)`."""

        @staticmethod
        def forward(ctx: Any, value_N: Tensor, backward: Any, saved: Any, *inputs: Tensor) -> Tensor:  # noqa: ANN401
            ctx.backward_of, ctx.dtypes = backward, [one.dtype for one in inputs]
            ctx.save_for_backward(*saved)
            return value_N.clone()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
            with torch.autocast(gradient_N.device.type, enabled=False):
                found = ctx.backward_of(gradient_N, *ctx.saved_tensors)
            return None, None, None, *(one.to(dtype) for one, dtype in zip(found, ctx.dtypes, strict=True))

    return Node


def _by_hidden(gradient_N: Tensor, direction_ND: Tensor) -> list[Tensor]:
    return [gradient_N[:, None] * direction_ND]


def _by_head(
    settings: dict[str, Any],
    chunk: int,
    gradient_N: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    hidden_ND: Tensor,
    ids_N: Tensor,
    total_N: Tensor,
    minus_slope_NV: Tensor | None,
) -> list[Tensor]:
    """Gradients by the weight and, where there is one, the bias: a product for each piece of the vocabulary."""
    head = LinearHead(weight_VD, bias_V, **settings)
    size, share_N = len(weight_VD), gradient_N * -head.factor
    scaled_ND = (share_N[:, None] * hidden_ND).to(hidden_ND.dtype)
    by_weight_VD, by_bias_V = torch.empty_like(weight_VD), None if bias_V is None else torch.empty_like(bias_V)
    kept = None if minus_slope_NV is None else [(slice(0, size), minus_slope_NV)]
    for tokens, slope_Nv in kept or _slopes_again(head, chunk, hidden_ND, ids_N, total_N):
        torch.mm(slope_Nv.T, scaled_ND, out=by_weight_VD[tokens])
        if by_bias_V is not None:
            torch.mv(slope_Nv.T, share_N.to(slope_Nv.dtype), out=by_bias_V[tokens])
    return [by_weight_VD] if by_bias_V is None else [by_weight_VD, by_bias_V]


def _slopes_again(
    head: LinearHead, chunk: int, hidden_ND: Tensor, ids_N: Tensor, total_N: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Pieces of the vocabulary and [N, v] `minus_slope_NV` there, in no more memory than the forward pass has used."""
    size, num = len(head.weight_VD), len(ids_N)
    at_once = chunk * size if hidden_ND.device.type != "cpu" else min(chunk * size, _CACHED)
    width = max(1, at_once // num)
    buffer_Nv = hidden_ND.new_empty(num, width)
    for start in range(0, size, width):
        tokens = slice(start, min(start + width, size))
        logits_Nv = head.logits(hidden_ND, tokens, buffer_Nv[:, : tokens.stop - start])
        bent_Nv = head.slope_of_cap(logits_Nv)
        probability_Nv = logits_Nv.sub_(total_N[:, None]).exp_()
        yield tokens, _minus_slope(probability_Nv, ids_N, bent_Nv, start).to(hidden_ND.dtype)
